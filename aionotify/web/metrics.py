"""GET /metrics: what this server has counted, for Prometheus.

With several workers any of them answers for all, and every sample has a label ``worker``. They are
not added up here: a worker that is replaced begins at nothing again, which Prometheus sees as a
reset in a series of its own, and as a fall in a sum. A worker that does not answer is left out, and
``aionotify_worker_up`` says so.
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
    """A metric of one worker, on its way to another; a sample is a name, labels and a value."""

    name: str
    text: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


async def metrics(request: web.Request) -> web.Response:
    """The metrics of all workers, in the format that is asked for."""
    services = request.config_dict[SERVICES]
    collector: Collector = NodeCollector(services)
    if (place := services.worker_peers.place) is not None:
        answers = {place.index: snapshot(services), **await services.worker_peers.ask()}
        collector = AllWorkers(answers, place.workers)
    encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
    return web.Response(body=encode(collector), headers={hdrs.CONTENT_TYPE: content_type})


def snapshot(services: Services) -> bytes:
    """The metrics of this process, for a sibling that was asked for everybody's."""
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
    """Snapshots put together.

    Args:
        snapshots: by worker.
        workers: how many there should be.
    """

    def __init__(self, snapshots: Mapping[int, bytes], workers: int) -> None:
        self._snapshots = snapshots
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "aionotify_worker_up", "1 for a worker that has answered.", labels=["worker"]
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
        except msgspec.DecodeError:  # it has died while it answered
            return []
