"""Publishing without an event loop of one's own: from threads, after forks, and at the very end."""

import asyncio
import gc
import os
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from aionotify import (
    BrokerRefused,
    BrokerUnavailable,
    ConfigError,
    InvalidEvent,
    PartlyPublished,
    Published,
    Publisher,
    SyncPublisher,
)
from tests.broker.connection.helpers import write_certificate
from tests.harness import RedisServer, TcpProxy, eventually


@pytest.fixture
def publisher(redis_server: RedisServer) -> Iterator[SyncPublisher]:
    with SyncPublisher(redis_server.url) as publisher:
        yield publisher


def inbox(server: RedisServer, user: str) -> list[str]:
    """The events that are stored for a user, as JSON."""
    entries = server.cli("LRANGE", f"aionotify:{{{user}}}:inbox", 0, -1)
    return [entry.split(" ", 2)[2] for entry in entries]


def connections(server: RedisServer) -> int:
    """How many connections publishers have."""
    return str(server.cli("CLIENT", "LIST")).count("name=aionotify-")


def threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("aionotify publisher")


def in_a_child(work: Callable[[], object]) -> None:
    """Fork, and have the child do something; what it raises is raised here."""
    read, write = os.pipe()
    with warnings.catch_warnings():  # Python 3.12 warns of forks where there are threads
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        said = ""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the parent raises it
            said = repr(error)
        finally:
            os.write(write, said.encode())
            os._exit(0)
    os.close(write)
    with open(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    assert said == ""


# What it does


def test_an_event_is_published_and_the_caller_told(
    publisher: SyncPublisher, redis_server: RedisServer
) -> None:
    event = {"recipient_id": "42", "data": 1, "id": "k"}
    first, again = publisher.publish(event), publisher.publish(event)
    assert (first.repeated, again.repeated) == (False, True)
    assert first.event_id == again.event_id
    assert inbox(redis_server, "42") == ['{"recipient_id":"42","data":1,"id":"k"}']


def test_an_ephemeral_event_is_told_to_who_listens_and_not_kept(
    publisher: SyncPublisher, redis_server: RedisServer
) -> None:
    event = {"recipient_id": "42", "data": 1}
    assert publisher.publish(event, ephemeral=True) == Published("", online=False)
    assert inbox(redis_server, "42") == []
    with pytest.raises(InvalidEvent):
        publisher.publish(event | {"id": "k"}, ephemeral=True)


def test_events_in_a_row_are_told_in_their_order(
    publisher: SyncPublisher, redis_server: RedisServer
) -> None:
    results = publisher.publish_many({"recipient_id": "u"} if n != 7 else {} for n in range(100))
    assert isinstance(results.pop(7), InvalidEvent)
    assert all(isinstance(result, Published) for result in results)
    assert len(inbox(redis_server, "u")) == 99


def test_errors_are_those_of_a_publisher(
    publisher: SyncPublisher, redis_server: RedisServer
) -> None:
    redis_server.cli("SET", "aionotify:{bad}:inbox", "no list", "EX", 60)
    with pytest.raises(InvalidEvent):
        publisher.publish({"data": 1})
    with pytest.raises(BrokerRefused):
        publisher.publish({"recipient_id": "bad"})
    with pytest.raises(PartlyPublished):
        publisher.publish({"recipient_id": ["a", "bad"]})


def test_without_redis_it_is_not_known_and_later_it_works(own_redis: RedisServer) -> None:
    with SyncPublisher(own_redis.url) as publisher:
        own_redis.stop()
        with pytest.raises(BrokerUnavailable):
            publisher.publish({"recipient_id": "u"})
        own_redis.start()
        publisher.publish({"recipient_id": "u"})
        own_redis.restart()
        publisher.publish({"recipient_id": "u"})
    assert len(inbox(own_redis, "u")) == 1


async def test_a_lost_answer_says_so_and_the_key_makes_it_once(own_redis: RedisServer) -> None:
    async with TcpProxy(own_redis.port) as proxy:
        with SyncPublisher(proxy.url) as publisher:
            publish = in_a_thread(publisher)
            await publish({"recipient_id": "u", "data": 1})
            proxy.cut_after(1)
            event = {"recipient_id": "u", "data": 2, "id": "k"}
            with pytest.raises(BrokerUnavailable):
                await publish(event)
            assert (await publish(event)).repeated
    assert len(inbox(own_redis, "u")) == 2


def in_a_thread(publisher: SyncPublisher) -> Callable[[Any], Any]:
    async def publish(event: Any) -> Published:
        return await asyncio.to_thread(publisher.publish, event)

    return publish


def test_an_address_that_cannot_be_used_is_refused_at_once() -> None:
    with pytest.raises(ConfigError):
        SyncPublisher("http://example.com")


def test_a_client_of_ones_own_publishes_and_stays_open(redis_server: RedisServer) -> None:
    """Whatever it makes of replies; and a client of the other kind is refused."""
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        with SyncPublisher.from_client(client) as publisher:
            assert not publisher.publish({"recipient_id": "u", "id": "k"}).repeated
            assert publisher.publish({"recipient_id": "u", "id": "k"}).repeated
            redis_server.cli("SCRIPT", "FLUSH")
            assert publisher.publish({"recipient_id": "u", "id": "k"}).repeated
        assert client.ping()
        with pytest.raises(TypeError, match=r"redis\.asyncio"):
            Publisher.from_client(client)
    with pytest.raises(TypeError, match=r"redis\.asyncio"):
        SyncPublisher.from_client(redis.asyncio.Redis())  # type: ignore[arg-type]


def test_a_client_of_ones_own_says_in_which_database_the_nodes_are(
    redis_server: RedisServer,
) -> None:
    with (
        redis.Redis(port=redis_server.port, db=1) as client,
        client.pubsub() as pubsub,
        SyncPublisher.from_client(client) as publisher,
    ):
        pubsub.subscribe("aionotify@1:{42}")
        pubsub.get_message(timeout=5)
        assert publisher.publish({"recipient_id": "42"}).online


def test_a_client_of_ones_own_that_loses_redis_says_so(own_redis: RedisServer) -> None:
    own_redis.stop()
    publisher = SyncPublisher.from_client(redis.Redis(port=own_redis.port))
    with publisher, pytest.raises(BrokerUnavailable):
        publisher.publish({"recipient_id": "u"})


# Who calls it


def test_nothing_is_opened_before_the_first_event(redis_server: RedisServer) -> None:
    """A server may make it before it forks its workers."""
    before = connections(redis_server)
    with SyncPublisher.from_url(redis_server.url) as publisher:
        publisher.publish_many([])
        assert (threads(), connections(redis_server)) == (0, before)
        publisher.publish({"recipient_id": "u"})
        assert (threads(), connections(redis_server)) == (1, before + 1)
    assert threads() == 0


def test_threads_share_one_connection(publisher: SyncPublisher, redis_server: RedisServer) -> None:
    before = connections(redis_server)
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(publisher.publish, [{"recipient_id": "u"}] * 500))
    assert len({result.event_id for result in results}) == 500
    assert (threads(), connections(redis_server)) == (1, before + 1)


async def test_a_coroutine_may_call_it(publisher: SyncPublisher) -> None:
    """A notebook runs an event loop in the thread in which its cells run."""
    assert publisher.publish({"recipient_id": "u"}).event_id


def test_events_are_made_in_the_thread_that_publishes_them(publisher: SyncPublisher) -> None:
    """They may come from a database's cursor, which only that thread may use."""
    found: list[int] = []

    def events() -> Iterator[dict[str, str]]:
        for _ in range(3):
            found.append(threading.get_ident())
            yield {"recipient_id": "u"}

    publisher.publish_many(events())
    assert found == [threading.get_ident()] * 3


def test_a_child_has_a_connection_of_its_own(
    publisher: SyncPublisher, redis_server: RedisServer
) -> None:
    """And its parent goes on with the one that it had; so has a child's child."""
    publisher.publish({"recipient_id": "u"})
    publisher.publish({"recipient_id": "u"})
    parent = publisher._workers[os.getpid()].publisher
    session = parent._endpoint and parent._endpoint.publishing._session

    def child() -> None:
        publisher.publish({"recipient_id": "u"})
        in_a_child(lambda: publisher.publish({"recipient_id": "u"}))
        publisher.close()
        gc.collect()

    for _ in range(3):
        in_a_child(child)
        publisher.publish({"recipient_id": "u"})
    assert parent._endpoint is not None
    assert parent._endpoint.publishing._session is session is not None
    assert len(inbox(redis_server, "u")) == 11


async def test_a_child_says_nothing_on_its_parents_tls(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """A goodbye from the child would end the parent's connection."""
    certificate = tmp_path / "redis.pem"
    write_certificate(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with TcpProxy(redis_server.port, tls=context) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}/0?ssl_ca_certs={certificate}"
        publisher = SyncPublisher(url)
        publish = in_a_thread(publisher)
        event = {"recipient_id": "u"}

        def child() -> None:
            publisher.publish(event)
            publisher.close()
            gc.collect()

        await publish(event)
        await asyncio.to_thread(in_a_child, child)
        await publish(event)
        assert proxy.accepted == 2
        await asyncio.to_thread(publisher.close)
    assert len(inbox(redis_server, "u")) == 3


def test_a_child_can_publish_while_its_parents_threads_do(
    publisher: SyncPublisher, redis_server: RedisServer
) -> None:
    """Whatever they held at the moment of the fork."""
    done = threading.Event()

    def busy() -> None:
        while not done.is_set():
            publisher.publish({"recipient_id": "parent"})

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(busy) for _ in range(4)]
        try:
            for _ in range(10):
                in_a_child(lambda: publisher.publish({"recipient_id": "child"}))
        finally:
            done.set()
        for each in running:
            each.result()
    assert len(inbox(redis_server, "child")) == 10


async def test_a_child_keeps_no_connection_of_its_parent(own_redis: RedisServer) -> None:
    """When the parent closes it, it is closed."""
    publisher = SyncPublisher(own_redis.url)
    publisher.publish({"recipient_id": "u"})
    (read, write), (ready, say) = os.pipe(), os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            publisher.publish({"recipient_id": "u"})
            publisher.close()
            os.write(say, b"1")
            os.read(read, 1)
        finally:
            os._exit(0)
    try:
        await asyncio.to_thread(os.read, ready, 1)
        publisher.close()
        await eventually(lambda: connections(own_redis) == 0)
    finally:
        os.write(write, b"1")
        await asyncio.to_thread(os.waitpid, pid, 0)
        for descriptor in (read, write, ready, say):
            os.close(descriptor)
    assert len(inbox(own_redis, "u")) == 2


# How it ends


def test_what_is_under_way_when_it_is_closed_is_stored(own_redis: RedisServer) -> None:
    publisher = SyncPublisher(own_redis.url)
    publisher.publish({"recipient_id": "u"})
    own_redis.pause()
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(publisher.publish, {"recipient_id": "u"}) for _ in range(8)]
        loop = publisher._workers[os.getpid()].thread._loop
        while len(asyncio.all_tasks(loop)) < 8:
            pass
        closing = threading.Thread(target=publisher.close)
        closing.start()
        own_redis.resume()
        assert len({each.result().event_id for each in running}) == 8
        closing.join()
    publisher.close()
    assert threads() == 0
    with pytest.raises(BrokerUnavailable, match="closed"):
        publisher.publish({"recipient_id": "u"})


async def test_one_that_was_forgotten_leaves_neither_thread_nor_connection(
    own_redis: RedisServer,
) -> None:
    SyncPublisher(own_redis.url).publish({"recipient_id": "u"})
    gc.collect()
    await eventually(lambda: threads() == connections(own_redis) == 0)


AT_THE_END = """
import os, sys, threading, time, warnings, aionotify
publisher = aionotify.SyncPublisher(sys.argv[1])
event = {"recipient_id": "u"}

def plain(): publisher.publish(event)

def in_a_child_too():
    publisher.publish(event)
    warnings.simplefilter("ignore", DeprecationWarning)
    if pid := os.fork():
        os.waitpid(pid, 0)
    publisher.publish(event)

def in_an_idle_child():
    publisher.publish(event)
    warnings.simplefilter("ignore", DeprecationWarning)
    if pid := os.fork():
        os.waitpid(pid, 0)
        publisher.publish(event)

def with_an_error():
    publisher.publish(event)
    sys.exit(3)

globals()[sys.argv[2]]()
"""


@pytest.mark.parametrize(
    ("way", "events", "code"),
    [
        ("plain", 1, 0),
        ("in_a_child_too", 3, 0),
        ("in_an_idle_child", 2, 0),
        ("with_an_error", 1, 3),
    ],
)
def test_a_process_that_ends_closes_it_without_a_word(
    redis_server: RedisServer, way: str, events: int, code: int
) -> None:
    words = [sys.executable, "-X", "dev", "-W", "error", "-c", AT_THE_END, redis_server.url, way]
    run = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (code, "", "")
    assert len(inbox(redis_server, "u")) == events
