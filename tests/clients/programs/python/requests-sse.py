from contract import get_token, last_id, show, sign_in, url

# In docs/clients.rst:
import random
import time

import requests
from requests_sse import EventSource, InvalidStatusCodeError


def listen(url, last_id):
    while True:
        headers = {"Authorization": f"Bearer {get_token()}"}
        try:
            with EventSource(url, headers=headers, latest_event_id=last_id, timeout=40) as source:
                for event in source:
                    last_id = event.last_event_id or last_id
                    show(event.type, event.data)
                    if event.type in ("aionotify.drain", "aionotify.expired"):
                        break  # come back with a new token
        except InvalidStatusCodeError as error:
            if error.status_code in (401, 403):
                return
        except requests.RequestException:
            pass
        time.sleep(random.uniform(1, 5))


listen(url, last_id)
# Until here.
sign_in()
