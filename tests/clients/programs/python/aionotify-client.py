from contract import get_token, last_id, show, sign_in, url

# In docs/clients.rst:
import asyncio

import aionotify


async def listen(url, last_id):
    while True:
        async with aionotify.Client(url, token=get_token(), last_event_id=last_id) as client:
            try:
                async for event in client:
                    show(event.type, event.data)
                    if event.type == "aionotify.expired":
                        break  # come back with a new token
            except aionotify.StreamRefused as error:
                if error.status in (401, 403):
                    return
                raise
        last_id = client.last_event_id


asyncio.run(listen(url, last_id))
# Until here.
sign_in()
