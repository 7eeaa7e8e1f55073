"""A request's connection goes from aiohttp to a stream, and of the request nothing stays.

aiohttp keeps a handler with its task, its parser and the request for as long as a connection lives.
A stream needs none of that: it writes to the transport, and hears from it when the client is gone.

`RequestHandler.transport` is the one name here that aiohttp does not document as ours to set. With
None there, aiohttp takes the client for gone and leaves the connection alone.
"""

import asyncio

from aiohttp import web
from aiohttp.web_protocol import RequestHandler


def hand_over(request: web.BaseRequest, stream: asyncio.Protocol) -> bool:
    """Make `stream` the protocol of the connection that `request` came by.

    The response must be prepared, and its `prepare` and `write_eof` must do nothing from now on.
    When the request's handler has returned, aiohttp clears up as after a lost connection.

    Returns:
        False where that cannot be done. Nothing has changed then.
    """
    handler: asyncio.Protocol = request.protocol  # unless somebody serves in another way
    if not isinstance(handler, RequestHandler) or handler.transport is None:
        return False
    transport = handler.transport
    handler.transport = None
    handler.close()  # takes no further request
    request.content.feed_eof()  # waits for no more of this one
    transport.set_protocol(stream)
    request.task.add_done_callback(lambda _: handler.connection_lost(None))
    return True
