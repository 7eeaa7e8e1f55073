"""What can be measured: each scenario takes a lab and returns what it has found."""

from collections.abc import Awaitable, Callable, Mapping

from scripts.bench.lab import Lab
from scripts.bench.results import Result
from scripts.bench.scenarios.fanout import broadcast, durable, unicast
from scripts.bench.scenarios.handshake import handshake
from scripts.bench.scenarios.idle import idle
from scripts.bench.scenarios.inbox import inbox
from scripts.bench.scenarios.ingest import ingest
from scripts.bench.scenarios.publish import publish
from scripts.bench.scenarios.resume import resume
from scripts.bench.scenarios.storm import storm

SCENARIOS: Mapping[str, Callable[[Lab], Awaitable[Result]]] = {
    scenario.__name__: scenario
    for scenario in (
        *(idle, unicast, broadcast, durable, handshake, storm, resume, publish, ingest, inbox),
    )
}
