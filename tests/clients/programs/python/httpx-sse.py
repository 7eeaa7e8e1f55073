from contract import get_token, last_id, show, sign_in, url

# In docs/clients.rst:
import random
import time

import httpx
from httpx_sse import connect_sse


def listen(url, last_id):
    retry = 3.0  # seconds
    with httpx.Client(timeout=httpx.Timeout(10, read=40)) as client:
        while True:
            pause = 0.0
            headers = {"Authorization": f"Bearer {get_token()}"}
            if last_id:
                headers["Last-Event-ID"] = last_id
            try:
                with connect_sse(client, "GET", url, headers=headers) as source:
                    if source.response.status_code in (401, 403):
                        return
                    pause = float(source.response.headers.get("Retry-After", 0))
                    source.response.raise_for_status()
                    for event in source.iter_sse():
                        last_id = event.id or last_id
                        retry = event.retry / 1000 if event.retry else retry
                        show(event.event, event.data)
            except httpx.HTTPError:
                pass
            time.sleep(max(retry, pause) * random.uniform(1, 1.5))


listen(url, last_id)
# Until here.
sign_in()
