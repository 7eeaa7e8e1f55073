from contract import get_token, last_id, show, sign_in, url

# In docs/clients.rst:
import random
import time

import requests
import sseclient


def listen(url, last_id):
    retry = 3.0  # seconds
    while True:
        pause = 0.0
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {get_token()}"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        try:
            with requests.get(url, headers=headers, stream=True, timeout=(10, 40)) as response:
                if response.status_code in (401, 403):
                    return
                pause = float(response.headers.get("Retry-After", 0))
                response.raise_for_status()
                for event in sseclient.SSEClient(response).events():
                    last_id = event.id or last_id
                    retry = int(event.retry) / 1000 if event.retry else retry
                    show(event.event, event.data)
        except requests.RequestException:
            pass
        time.sleep(max(retry, pause) * random.uniform(1, 1.5))


listen(url, last_id)
# Until here.
sign_in()
