"""GET /metrics: everything that is counted is told, under names that Prometheus users expect."""

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import fields

import aiohttp
import msgspec
import pytest
from aiohttp import web
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse
from prometheus_client.samples import Sample

from aionotify import Config, Identity, create_app
from aionotify.errors import RequestError
from aionotify.events.event import decode
from aionotify.events.group import Ordered
from aionotify.events.page import Entry
from aionotify.streams.heartbeat import Heartbeat
from aionotify.streams.hub import Hub
from aionotify.streams.recipient import Group, Recipient, Shard, StreamReport
from aionotify.telemetry.stats import Histogram, Stats
from aionotify.web.metrics import AllWorkers, snapshot
from aionotify.web.services import SERVICES, Services
from tests.harness import RedisServer, SSEClient, eventually

KEY = "publisher-key-0123456789"


class Anybody:
    async def authenticate(self, request: web.Request) -> Identity:
        return Identity(request.query["user"])


class Node:
    """A node in this process."""

    def __init__(self, url: str, services: Services, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.services = services
        self.session = session

    async def scrape(self, accept: str = "") -> tuple[str, str]:
        """The content type and the text."""
        async with self.session.get(f"{self.url}/metrics", headers={"Accept": accept}) as response:
            assert response.status == 200
            return response.headers["Content-Type"], await response.text()

    async def samples(self) -> dict[str, float]:
        """The value of each series, by ``name{label="value"}``."""
        _, text = await self.scrape()
        return {_series(s): s.value for family in parse(text) for s in family.samples}

    async def value(self, series: str) -> float:
        return (await self.samples())[series]


def _series(sample: Sample) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{labels}}}" if labels else sample.name


@pytest.fixture
async def node(redis_server: RedisServer) -> AsyncIterator[Node]:
    config = {"redis": {"url": redis_server.url}, "admin": {"publish_keys": [KEY]}}
    app = create_app(Config.from_mapping(config), Anybody())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Node(f"http://127.0.0.1:{runner.addresses[0][1]}", app[SERVICES], session)
    await runner.cleanup()


async def test_counters_are_all_told(node: Node) -> None:
    """Each counter is given a value that no other has, and that value is looked for."""
    expected = {}
    number = 1000
    for stats in (node.services.stats, node.services.auth_stats):
        for field in fields(stats):
            number += 1
            expected[field.name] = float(number)
            match getattr(stats, field.name):
                case Counter() as counter:
                    counter["something"] = number
                case Histogram() as histogram:
                    histogram.buckets[-1] = number
                case _:
                    setattr(stats, field.name, number)
    told = set((await node.samples()).values())
    missing = {name for name, value in expected.items() if value not in told}
    assert missing == set()


async def test_metrics_are_prometheus_text_and_openmetrics_for_those_who_ask(node: Node) -> None:
    content_type, text = await node.scrape()
    assert content_type.startswith("text/plain; version=0.0.4")
    families = {family.name for family in parse(text)}
    accept = "application/openmetrics-text; version=1.0.0"
    content_type, text = await node.scrape(accept)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    parsed = parse_openmetrics(text)  # type: ignore[no-untyped-call]
    assert {family.name for family in parsed} == families
    assert text.endswith("# EOF\n")


async def test_names_follow_the_conventions(node: Node) -> None:
    """https://prometheus.io/docs/practices/naming/: a prefix, base units, totals, explanations."""
    _, text = await node.scrape()
    for family in parse(text):
        assert re.match(r"aionotify_|process_|python_info$", family.name)
        assert family.documentation
        assert not re.search(r"_(ms|milliseconds|kb|count|sum|bucket)$", family.name)
        if family.type in ("histogram", "summary"):
            assert family.name.endswith("_seconds")
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total")
            assert "user" not in sample.labels


async def test_series_begin_before_their_first_event_does(node: Node) -> None:
    """Or their first event would be no increase."""
    series = await node.samples()
    codes = {error.code for error in _subclasses(RequestError)}
    for code in codes:
        assert series[f'aionotify_requests_refused_total{{code="{code}"}}'] == 0
    for name in ("streams_closed", "gaps", "catch_ups", "streams_opened", "events_published"):
        assert any(each.startswith(f"aionotify_{name}_total{{") for each in series)


async def test_no_series_appears_only_when_something_happens(node: Node) -> None:
    """Neither with streams and events, nor with any refusal, be it of a kind of one's own."""
    before = set(await node.samples())
    headers = {"Authorization": f"Bearer {KEY}", "Origin": "https://elsewhere.example"}
    async with SSEClient(f"{node.url}/notify?user=42&last_event_id=nonsense") as client:
        await client.wait_events(1)
        for method, path, body in (
            ("POST", "/publish", b'{"recipient_id": "42"}'),
            ("POST", "/publish", b"nonsense"),
            ("OPTIONS", "/publish", b""),
            ("PUT", "/publish", b""),
            ("GET", "/nowhere", b""),
            ("GET", "/notify", b""),
        ):
            async with node.session.request(
                method, node.url + path, headers=headers, data=body
            ) as response:
                assert (response.status == 202) is (body.startswith(b"{"))
        await client.wait_for(lambda events: events[-1].event == "message")
    node.services.stats.refused["of_its_own"] = 7
    after = await node.samples()
    assert set(after) == before
    assert after['aionotify_requests_refused_total{code="other"}'] == 7


async def test_users_are_counted_once_however_many_streams_they_have(node: Node) -> None:
    urls = [f"{node.url}/notify?user={user}" for user in ("42", "42", "7")]
    async with SSEClient(urls[0]), SSEClient(urls[1]), SSEClient(urls[2]) as client:
        await client.wait_events(1)
        series = await node.samples()
        assert series["aionotify_users_online"] == 2
        assert series["aionotify_streams"] == 3
    await eventually(lambda: _is(node, "aionotify_users_online", 0))


@pytest.mark.parametrize(("origin", "count"), [("https://elsewhere.example", 1), (None, 0)])
async def test_requests_of_pages_that_are_not_allowed_are_counted(
    node: Node, origin: str | None, count: int
) -> None:
    """But not those of the node's own pages."""
    headers = {"Origin": origin or node.url}
    for path in ("/healthz", "/notify?user=42", "/nowhere"):
        async with node.session.get(node.url + path, headers=headers):
            pass
    assert await node.value("aionotify_origins_refused_total") == 3 * count


def _subclasses(error: type[RequestError]) -> set[type[RequestError]]:
    below = {each for sub in error.__subclasses__() for each in _subclasses(sub)}
    return below or {error}


async def test_a_stream_is_counted_from_its_beginning_to_its_end(node: Node) -> None:
    async with SSEClient(f"{node.url}/notify?user=42") as client:
        await client.wait_events(1)
        series = await node.samples()
        assert series["aionotify_streams"] == 1
        assert series['aionotify_streams_opened_total{start="fresh"}'] == 1
        assert sum(v for k, v in series.items() if "streams_closed" in k) == 0
    await eventually(lambda: _is(node, 'aionotify_streams_closed_total{reason="gone"}', 1))
    assert await node.value("aionotify_streams") == 0
    async with SSEClient(f"{node.url}/notify?user=42&last_event_id=nonsense") as client:
        await client.wait_for(lambda _: len(client.events) > 1)
        series = await node.samples()
        assert series['aionotify_streams_opened_total{start="unknown_cursor"}'] == 1
        assert series['aionotify_gaps_total{reason="unknown"}'] == 1


async def _is(node: Node, series: str, value: float) -> bool:
    return await node.value(series) == value


async def test_a_refusal_is_counted_by_its_code(node: Node) -> None:
    async with node.session.post(f"{node.url}/publish") as response:
        assert response.status == 403
    async with node.session.get(f"{node.url}/presence") as response:
        assert response.status == 403
    assert await node.value('aionotify_requests_refused_total{code="credentials_missing"}') == 2


async def test_an_event_is_counted_on_its_way(node: Node) -> None:
    """Published, received, delivered, and timed from the first to the last of these."""
    async with SSEClient(f"{node.url}/notify?user=42") as client:
        await client.wait_events(1)
        headers = {"Authorization": f"Bearer {KEY}"}
        event = {"recipient_id": "42", "id": "once"}
        for _ in range(2):
            async with node.session.post(
                f"{node.url}/publish", headers=headers, json=event
            ) as response:
                assert response.status == 202
        await client.wait_events(2)
        await eventually(lambda: _is(node, 'aionotify_events_delivered_total{source="live"}', 1))
        series = await node.samples()
    assert series['aionotify_events_published_total{outcome="stored"}'] == 1
    assert series['aionotify_events_published_total{outcome="repeated"}'] == 1
    assert series['aionotify_events_received_total{kind="durable"}'] == 1
    assert series["aionotify_delivery_latency_seconds_count"] == 1
    assert 0 < series["aionotify_delivery_latency_seconds_sum"] < 2
    buckets = [v for k, v in series.items() if k.startswith("aionotify_delivery_latency_seconds_b")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 1


class LiveStream:
    """A stream that is live and takes everything."""

    live = True
    slice = 0
    groups: tuple[Group, ...] = ()
    shards: tuple[Shard, ...] = ()

    def __init__(self, hub: Hub, recipient: Recipient) -> None:
        self.recipient = recipient
        self.inboxes = (hub.everyone, recipient)

    def passes_over(self, before: frozenset[bytes], position: int) -> bool:
        return False

    def push(self, chunk: bytes) -> bool:
        return True

    def tell_later(self, chunk: bytes) -> bool:
        return True

    def flush(self) -> None: ...
    def regroup(self, groups: frozenset[str]) -> None: ...
    def fall_behind(self, at: object) -> None: ...
    def miss_notice(self) -> None: ...
    def close(self, reason: str) -> None: ...
    def beat(self) -> None: ...
    def buffered(self) -> int:
        return 0

    def report(self) -> StreamReport:
        raise NotImplementedError


class Nothing:
    def want(self, of: Ordered) -> None: ...
    def drop(self, of: Ordered) -> None: ...


@pytest.mark.parametrize(
    ("age", "bucket"),
    [(0.02, 0.025), (0.3, 0.5), (60, float("inf")), (-3600, 0.001)],
)
def test_an_event_is_timed_once_however_many_get_it(age: float, bucket: float) -> None:
    """An hour's step of either clock makes it late, or takes no time: never less."""
    hub = Hub(Nothing(), stats=Stats())
    recipient = hub.enter("42")
    for _ in range(3):
        hub.enter("42")
        hub.attach(LiveStream(hub, recipient))
    now = int(time.time() * 1_000_000) & ~1
    position = now - int(age * 1_000_000) & ~1
    for each in (hub.everyone, recipient):
        each.set_newest(position - 2)
    hub.durable("42", Entry(position, position - 2, decode(b'{"recipient_id": "42"}')))
    latency = hub.stats.latency
    assert hub.stats.delivered_live == 3
    assert dict(zip((*latency.bounds, float("inf")), latency.buckets, strict=True))[bucket] == 1
    assert sum(latency.buckets) == 1
    assert latency.sum == pytest.approx(max(age, 0), abs=0.004)


async def test_an_event_loop_that_is_held_up_is_seen() -> None:
    heartbeat = Heartbeat(0.32)  # a tick every 10 ms
    task = asyncio.create_task(heartbeat.run())
    await eventually(lambda: sum(heartbeat.lag.buckets) > 0)
    before = heartbeat.lag.sum
    time.sleep(0.3)  # noqa: ASYNC251 - which is the point
    await eventually(lambda: heartbeat.lag.sum > before)
    assert heartbeat.lag.sum - before >= 0.28
    task.cancel()
    await asyncio.wait([task])


async def test_bytes_that_a_client_does_not_take_are_seen(
    node: Node, redis_server: RedisServer
) -> None:
    async with SSEClient(f"{node.url}/notify?user=42", receive_buffer=4096) as client:
        await client.wait_events(1)
        assert await node.value("aionotify_buffered_bytes") == 0
        client.stall()

        async def full() -> bool:
            for _ in range(10):
                redis_server.cli("PUBLISH", "push_notifications", EVENT)
            series = await node.samples()
            dropped = 'aionotify_events_dropped_total{kind="ephemeral",reason="socket_full"}'
            return series[dropped] > 0 and series["aionotify_buffered_bytes"] > 0

        await eventually(full)


EVENT = '{"recipient_id": "42", "data": "%s"}' % ("x" * 50_000)


async def test_readiness_and_metrics_object_to_the_same(node: Node) -> None:
    async with node.session.get(f"{node.url}/readyz") as response:
        checks = (await response.json())["checks"]
    series = await node.samples()
    told = {k: v for k, v in series.items() if k.startswith("aionotify_check_ok")}
    assert told == {f'aionotify_check_ok{{check="{name}"}}': 1 for name in checks}
    node.services.hub.draining = True
    assert await node.value('aionotify_check_ok{check="draining"}') == 0


async def test_the_process_is_measured(node: Node) -> None:
    series = await node.samples()
    assert series["process_open_fds"] == pytest.approx(len(os.listdir("/proc/self/fd")), abs=5)
    assert series["process_max_fds"] >= series["process_open_fds"]
    assert 0 < series["process_cpu_seconds_total"] <= time.process_time()
    assert 10 << 20 < series["process_resident_memory_bytes"] < 4 << 30
    born = os.stat("/proc/self").st_ctime
    assert series["process_start_time_seconds"] == pytest.approx(born, abs=60)
    assert series["process_start_time_seconds"] < time.time()


# All workers


def families(snapshots: Mapping[int, bytes], workers: int) -> dict[str, dict[str, float]]:
    return {
        metric.name: {_series(sample): sample.value for sample in metric.samples}
        for metric in AllWorkers(snapshots, workers).collect()
    }


async def test_each_workers_numbers_are_told_apart(node: Node) -> None:
    node.services.stats.missed = 1
    first = snapshot(node.services)
    node.services.stats.missed = 20
    second = snapshot(node.services)
    told = families({0: first, 1: second}, 2)
    assert told["aionotify_events_missed"] == {
        'aionotify_events_missed_total{worker="0"}': 1,
        'aionotify_events_missed_total{worker="1"}': 20,
    }
    assert set(told["aionotify_worker_up"].values()) == {1}
    _, text = await node.scrape()
    assert set(told) - {"aionotify_worker_up"} == {family.name for family in parse(text)}


@pytest.mark.parametrize("cut", [0, 1, 100])
async def test_a_worker_that_died_while_it_answered_is_left_out(node: Node, cut: int) -> None:
    whole = snapshot(node.services)
    told = families({0: whole, 1: whole[:cut]}, 3)
    assert told["aionotify_worker_up"] == {
        'aionotify_worker_up{worker="0"}': 1,
        'aionotify_worker_up{worker="1"}': 0,
        'aionotify_worker_up{worker="2"}': 0,
    }
    assert list(told["aionotify_streams"]) == ['aionotify_streams{worker="0"}']
    with pytest.raises(msgspec.DecodeError):
        msgspec.msgpack.decode(whole[:cut])
