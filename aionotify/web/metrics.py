"""GET /metrics: the counters of this server, for Prometheus.

With several workers, any of them answers for all, and every sample has a label ``worker``. The
numbers are not added up: when a worker is replaced, its counters restart at 0, which Prometheus
handles as a reset in a separate series but not in a sum. A worker that does not answer is left out,
and ``aionotify_worker_up`` says so.
"""

from collections.abc import Iterator, Mapping

import msgspec
from aiohttp import hdrs, web
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aionotify.web.collector import NodeCollector
from aionotify.web.services import SERVICES, Services


class _Family(msgspec.Struct, array_like=True):
    """A metric that one worker sends to another; a sample is a name, labels and a value."""

    name: str
    text: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


async def metrics(request: web.Request) -> web.Response:
    """Answer with the metrics of all workers, in the requested format."""
    services = request.config_dict[SERVICES]
    collector: Collector = NodeCollector(services)
    if (place := services.worker_peers.place) is not None:
        answers = {place.index: snapshot(services), **await services.worker_peers.ask()}
        collector = AllWorkers(answers, place.workers)
    encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
    return web.Response(body=encode(collector), headers={hdrs.CONTENT_TYPE: content_type})


def snapshot(services: Services) -> bytes:
    """Return the metrics of this process, for a peer that answers for all workers."""
    families = [
        _Family(
            metric.name,
            metric.documentation,
            metric.type,
            [(sample.name, sample.labels, float(sample.value)) for sample in metric.samples],
        )
        for metric in NodeCollector(services).collect()
    ]
    return msgspec.msgpack.encode(families)


class AllWorkers(Collector):
    """Merges the snapshots of all workers.

    Args:
        snapshots: by worker.
        workers: the configured number of workers.
    """

    def __init__(self, snapshots: Mapping[int, bytes], workers: int) -> None:
        self._snapshots = snapshots
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "aionotify_worker_up", "1 for a worker that answered.", labels=["worker"]
        )
        merged: dict[str, Metric] = {}
        for worker in map(str, range(self._workers)):
            families = self._families(int(worker))
            up.add_metric([worker], bool(families))
            for family in families:
                metric = merged.setdefault(
                    family.name, Metric(family.name, family.text, family.type)
                )
                for name, labels, value in family.samples:
                    metric.add_sample(name, {**labels, "worker": worker}, value)
        yield up
        yield from merged.values()

    def _families(self, index: int) -> list[_Family]:
        if index not in self._snapshots:
            return []
        try:
            return msgspec.msgpack.decode(self._snapshots[index], type=list[_Family])
        except msgspec.DecodeError:  # the worker died while it answered
            return []
