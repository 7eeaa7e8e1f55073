"""Is the process alive, and is it able to deliver?"""

from collections.abc import Mapping

from aiohttp import web

from aionotify.web.errors import json_response
from aionotify.web.services import SERVICES, Services


async def healthz(request: web.Request) -> web.Response:
    """200 for as long as the event loop turns."""
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """200 when this node is able to deliver, 503 if not; with the reason for each check.

    That Redis stores nothing is said, and leaves the node ready: it delivers what there is, and a
    load balancer that took all nodes away for it would cut off every user, with nothing mended.
    """
    found = problems(request.config_dict[SERVICES])
    ready = not any(problem for name, problem in found.items() if name != "store")
    checks = {
        name: {"ok": problem is None, **({"reason": problem} if problem else {})}
        for name, problem in found.items()
    }
    return json_response({"ready": ready, "checks": checks}, 200 if ready else 503)


def problems(services: Services) -> Mapping[str, str | None]:
    """What is wrong by name of the check, None where nothing is."""
    return {
        "redis": services.subscriber.problem,
        "store": services.write_check.health.problem,
        "open_files": services.open_files.health.problem,
        "draining": "this node is draining" if services.hub.closed else None,
    }
