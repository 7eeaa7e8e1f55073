"""Liveness and readiness."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from aionotify.web.errors import json_response
from aionotify.web.services import SERVICES, Services

_STOPS_DELIVERY: Final = ("redis", "open_files", "draining")


async def healthz(request: web.Request) -> web.Response:
    """Answer 200 while the event loop runs."""
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Answer 200 when this node can deliver, else 503; with the reason of each failed check.

    A check that does not keep this node from delivering leaves it ready: if a load balancer took
    all nodes out because Redis stores nothing, or because more is published than they can deliver,
    it would disconnect every user and fix nothing.
    """
    found = problems(request.config_dict[SERVICES])
    ready = not any(found[name] for name in _STOPS_DELIVERY)
    checks = {
        name: {"ok": problem is None, **({"reason": problem} if problem else {})}
        for name, problem in found.items()
    }
    return json_response({"ready": ready, "checks": checks}, 200 if ready else 503)


def problems(services: Services) -> Mapping[str, str | None]:
    """Return the problem of each check by its name, None if it passes."""
    tracker, poster = services.presence_tracker, services.presence_poster
    hand_on = services.hand_on
    return {
        "redis": services.subscriber.problem,
        "load": services.subscriber.overload.health.problem,
        "store": services.subscriber.store.problem,
        "settings": services.data_set.settings.problem,
        "inboxes": services.inbox.unreadable.problem,
        "ingest": services.ingest.health.problem,
        "presence": tracker.health.problem if tracker else None,
        "webhook": poster.health.problem if poster else None,
        "hand_on": hand_on.health.problem if hand_on else None,
        "auth": services.authenticator.problem,
        "open_files": services.open_files.health.problem,
        "draining": "this node is draining" if services.hub.draining else None,
    }
