"""Is the process alive, and is it able to deliver?"""

from aiohttp import web

from aionotify.web.errors import json_response
from aionotify.web.services import SERVICES


async def healthz(request: web.Request) -> web.Response:
    """200 for as long as the event loop turns."""
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """200 when events that are published now would be delivered, 503 with the reasons if not."""
    services = request.config_dict[SERVICES]
    problems = {
        "redis": services.listener.problem,
        "draining": "this node is leaving" if services.hub.closed else None,
    }
    ready = not any(problems.values())
    checks = {
        name: {"ok": problem is None, **({"reason": problem} if problem else {})}
        for name, problem in problems.items()
    }
    return json_response({"ready": ready, "checks": checks}, 200 if ready else 503)
