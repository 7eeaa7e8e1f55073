from contract import get_token, last_id, show, sign_in, url

# In docs/clients.rst:
from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault
from ld_eventsource.config import ConnectStrategy, ErrorStrategy, RetryDelayStrategy
from ld_eventsource.errors import HTTPStatusError
from urllib3 import Timeout


def listen(url, last_id):
    headers = {"Authorization": f"Bearer {get_token()}"}
    client = SSEClient(
        ConnectStrategy.http(
            url,
            headers=headers,
            urllib3_request_options={"timeout": Timeout(connect=10, read=40)},
        ),
        error_strategy=ErrorStrategy.always_continue(),
        retry_delay_strategy=RetryDelayStrategy.default(max_delay=30, jitter_multiplier=0.5),
        last_event_id=last_id,
    )
    for action in client.all:
        if isinstance(action, Event):
            show(action.event, action.data)
        elif isinstance(action, Fault):
            if isinstance(action.error, HTTPStatusError) and action.error.status in (401, 403):
                return
            headers["Authorization"] = f"Bearer {get_token()}"  # for the next connection


listen(url, last_id)
# Until here.
sign_in()
