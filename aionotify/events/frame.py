"""SSE frames: the bytes in which an event travels (HTML Standard section 9.2, server-sent events).

A frame is made once per event and cursor, and is the same for every stream that gets it.
"""

from typing import Any, Final

import msgspec

RESERVED_PREFIX: Final = "aionotify."  # of `control_frame`: clients do what these tell them

_encode = msgspec.json.Encoder().encode


def frame(data: bytes, type: str | None = None, cursor: bytes | None = None) -> bytes:
    """One SSE frame (HTML Standard section 9.2.5): LF only, always with `data:`, and `id:` last.

    Some clients take an id as they parse it. One that is cut off in the middle of a frame must not
    have the id of an event that it never got, or it resumes after that event.

    Args:
        data: one line of UTF-8.
        type: the event type; checked by `decode`, never by this function.
        cursor: what comes back as `Last-Event-ID`; None leaves the client's as it is.
    """
    if type is None:
        if cursor is None:
            return b"data: %b\n\n" % data
        return b"data: %b\nid: %b\n\n" % (data, cursor)
    if cursor is None:
        return b"event: %b\ndata: %b\n\n" % (type.encode(), data)
    return b"event: %b\ndata: %b\nid: %b\n\n" % (type.encode(), data, cursor)


def control_frame(type: str, cursor: bytes | None = None, **members: Any) -> bytes:
    """A frame that aionotify itself has to say something with: ``aionotify.<type>``."""
    return frame(_encode(members), RESERVED_PREFIX + type, cursor)


def chunk(frame: bytes) -> bytes:
    """`frame` as one chunk of a chunked body (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def framed_chunk(data: bytes, type: str | None, cursor: bytes | None = None) -> bytes:
    """``chunk(frame(data, type, cursor))`` in one go, for the path of every event."""
    if type is None:
        return chunk(frame(data, type, cursor))
    name = type.encode()
    if cursor is None:
        size = len(name) + len(data) + 16
        return b"%x\r\nevent: %b\ndata: %b\n\n\r\n" % (size, name, data)
    size = len(name) + len(data) + len(cursor) + 21
    return b"%x\r\nevent: %b\ndata: %b\nid: %b\n\n\r\n" % (size, name, data, cursor)
