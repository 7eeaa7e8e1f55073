"""The operator's page, and what it asks for.

It is there only if some publish key has the right `admin`. The page itself tells nothing: its
script asks with that key, in a header that no page of another origin can send here (CSRF), and
changes nothing but that it ends streams.
"""

import contextlib
from importlib import resources
from typing import Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from aionotify.auth.credentials import is_trusted_origin
from aionotify.auth.publish_keys import KeyHolder
from aionotify.broker.inspection import Answers
from aionotify.errors import BrokerError, Forbidden, InvalidEvent
from aionotify.web import inbox as lists
from aionotify.web import node_report
from aionotify.web.errors import json_response
from aionotify.web.node_report import NodeReport, UserReport
from aionotify.web.presence import listed
from aionotify.web.publish import key_holder
from aionotify.web.revocation import check_user, revoke
from aionotify.web.services import SERVICES

_RIGHT: Final = "admin"
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; require-trusted-types-for 'script'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def file_handler(name: str) -> Handler:
    """Return the handler that answers with one of the page's files."""
    body = resources.files("aionotify.web").joinpath(f"static/{name}").read_bytes()
    headers = {**_HEADERS, hdrs.CONTENT_TYPE: _TYPES[name.rpartition(".")[2]]}

    async def file(request: web.Request) -> web.Response:
        _check_exists(request)
        return web.Response(body=body, headers=headers)

    return file


async def nodes(request: web.Request) -> web.Response:
    """GET /admin/nodes: the report of every node."""
    return await _ask(request, NodeReport, None, _operator(request).prefix)


async def streams(request: web.Request) -> web.Response:
    """GET /admin/streams?user_id=…: the user's streams on every node."""
    return await _ask(request, UserReport, _user(request, _operator(request)))


async def users(request: web.Request) -> web.Response:
    """GET /admin/users: a page of the users who have a stream open, as GET /presence has them."""
    answer = await listed(request, _operator(request))
    answer.headers[hdrs.CACHE_CONTROL] = "no-store"
    return answer


async def inbox(request: web.Request) -> web.Response:
    """GET /admin/inbox?user_id=…: as GET /inbox with a recipient_id, with both rights."""
    holder = _operator(request)
    holder.check_right("read")
    return await lists.answer(request, _user(request, holder))


async def end_streams(request: web.Request) -> web.Response:
    """DELETE /admin/streams?user_id=…: as DELETE /streams/{user_id}, with both rights."""
    holder = _operator(request)
    holder.check_right("revoke")
    return await revoke(request, _user(request, holder))


def _check_exists(request: web.Request) -> None:
    if not request.config_dict[SERVICES].terms.publish_keys.allow(_RIGHT):
        raise web.HTTPNotFound


def _operator(request: web.Request) -> KeyHolder:
    _check_exists(request)
    if not is_trusted_origin(request, ()):  # whatever `cors.origins` grants its pages elsewhere
        raise Forbidden("pages of other origins may not use this")
    return key_holder(request, _RIGHT)


def _user(request: web.Request, holder: KeyHolder) -> str:
    asked = request.query.getall("user_id", [])
    if len(asked) != 1:
        raise InvalidEvent({"user_id": "must be given once"})
    check_user(holder, asked[0])
    return asked[0]


async def _ask(
    request: web.Request,
    of: type[NodeReport] | type[UserReport],
    user_id: str | None,
    prefix: str = "",
) -> web.Response:
    """Answer with what all nodes report, in order of their names.

    This node is always among them: while it does not hear Redis an operator looks here.
    """
    services = request.config_dict[SERVICES]
    found, problem = Answers(0, []), None
    try:
        found = await services.inspection.ask(user_id, prefix)
    except BrokerError as error:
        problem = str(error)
    reports = {}
    for answer in found.answers:
        with contextlib.suppress(msgspec.DecodeError):  # of a version that tells something else
            report = msgspec.json.decode(answer, type=of)
            reports[report.node] = report
    if node_report.name() not in reports:
        own = node_report.answer(services, user_id, prefix)
        reports[node_report.name()] = msgspec.json.decode(own, type=of)
    in_order = [reports[name] for name in sorted(reports)]
    told = {"asked": found.asked, "problem": problem, "nodes": in_order}
    return json_response(told, headers={hdrs.CACHE_CONTROL: "no-store"})
