from contract import get_token, last_id, show, sign_in, url

# In docs/clients.rst:
import asyncio
import random
import re

import aiohttp
from aiohttp_sse_client2.client import EventSource


async def listen(url, last_id):
    timeout = aiohttp.ClientTimeout(None, sock_connect=10, sock_read=40)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            headers = {"Authorization": f"Bearer {get_token()}"}
            if last_id:
                headers["Last-Event-ID"] = last_id
            try:
                async with EventSource(url, session=session, headers=headers) as source:
                    async for event in source:
                        last_id = event.last_event_id or last_id
                        show(event.type or "message", event.data)
                        if event.type in ("aionotify.drain", "aionotify.expired"):
                            break  # come back with a new token
            except (aiohttp.ClientError, OSError) as error:
                if re.search(r"failed: 40[13]", str(error)):
                    return
            await asyncio.sleep(random.uniform(1, 5))


asyncio.run(listen(url, last_id))
# Until here.
sign_in()
