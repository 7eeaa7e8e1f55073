"""What is said of a Redis that is not as it should be: its own words, and what to do."""

import re
import socket
import ssl
from pathlib import Path

import pytest

from aionotify.cli.check_redis import check_redis
from aionotify.cli.finding import Finding
from aionotify.config import RedisConfig
from tests.broker.connection.helpers import write_certificate
from tests.harness import Clock, RedisServer, TcpProxy, eventually, free_port

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])


async def findings(url: str) -> dict[str, Finding]:
    return {each.check: each async for each in check_redis(RedisConfig(url=url))}


async def failure(url: str) -> Finding:
    """The only one."""
    [failed] = [each for each in (await findings(url)).values() if each.status == "failed"]
    return failed


@pytest.mark.parametrize(
    ("user", "said", "advice"),
    [
        ("", "NOAUTH Authentication required", "correct the user and password"),
        ("me:wrong@", "WRONGPASS invalid username-password", "correct the user and password"),
        ("me:pw@/999", "SELECT 999: ERR DB index is out of range", "correct the database number"),
        (
            "mute:pw@",
            "NOPERM User mute has no permissions to run the 'publish'",
            "the rights (ACL)",
        ),
        ("other:pw@", "NOPERM No permissions to access a key", "the rights (ACL)"),
    ],
)
async def test_what_redis_refuses_is_told_in_its_words(
    own_redis: RedisServer, user: str, said: str, advice: str
) -> None:
    rules = ("on", ">pw", "allchannels", "+@all")
    own_redis.cli("ACL", "SETUSER", "me", *rules, "allkeys")
    own_redis.cli("ACL", "SETUSER", "mute", *rules, "allkeys", "-publish")
    own_redis.cli("ACL", "SETUSER", "other", *rules, "~other:*")
    own_redis.cli("CONFIG", "SET", "requirepass", "pw")
    userinfo, _, database = user.partition("/")
    failed = await failure(f"redis://{userinfo}127.0.0.1:{own_redis.port}/{database}")
    assert said in failed.found
    assert advice in failed.advice
    assert "wrong" not in failed.found


async def test_a_right_that_is_not_needed_is_missed_and_nothing_fails(
    own_redis: RedisServer,
) -> None:
    own_redis.cli("ACL", "SETUSER", "me", "on", ">pw", "allkeys", "allchannels", "+@all", "-info")
    found = await findings(f"redis://me:pw@127.0.0.1:{own_redis.port}")
    assert {name: each.status for name, each in found.items()} == {
        "redis": "ok",
        "redis server": "warning",
        "redis keys": "ok",
        "redis rights": "ok",
        "redis names": "ok",
        "clock": "ok",
        "redis pub/sub": "ok",
    }
    assert "NOPERM" in found["redis server"].found
    assert "+info" in found["redis server"].advice


async def test_replicas_that_are_waited_for_have_to_be_there(redis_server: RedisServer) -> None:
    config = RedisConfig(url=redis_server.url, wait_replicas=1)
    found = {each.check: each async for each in check_redis(config)}
    assert found["redis replicas"].status == "failed"
    assert found["redis replicas"].found == "only 0 of 1 replicas had it within 0.5 s"


@pytest.mark.parametrize("shards", [1, 2])
async def test_a_cluster_is_told_if_it_has_several_shards(tmp_path: Path, shards: int) -> None:
    bus = free_port()  # by default 10,000 above the other one, where somebody may be
    options = {"cluster-enabled": "yes", "cluster-require-full-coverage": "no"}
    with RedisServer(tmp_path, options={**options, "cluster-port": str(free_port())}) as redis:
        redis.cli("CLUSTER ADDSLOTSRANGE", 0, 16383 // shards)
        if shards == 2:  # the other one need not be there to be pointed at
            (tmp_path / "other").mkdir()
            options |= {"cluster-port": str(bus)}
            with RedisServer(tmp_path / "other", options=options) as other:
                other.cli("CLUSTER ADDSLOTSRANGE", 8192, 16383)
                redis.cli("CLUSTER MEET", "127.0.0.1", other.port, bus)
                await eventually(lambda: "'8192', '16383'" in str(redis.cli("CLUSTER NODES")))
                await eventually(lambda: redis.cli("CLUSTER INFO")["cluster_state"] == "ok")
                failed = await failure(redis.url)
            assert "a cluster of at least 2 shards: MOVED " in failed.found
            assert "one shard" in failed.advice
        else:
            await eventually(lambda: redis.cli("CLUSTER INFO")["cluster_state"] == "ok")
            assert (await findings(redis.url))["redis keys"].status == "ok"


async def test_a_certificate_that_is_not_trusted_is_told(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    certificate = tmp_path / "redis.pem"
    write_certificate(certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with TcpProxy(redis_server.port, tls=context) as proxy:
        failed = await failure(f"rediss://127.0.0.1:{proxy.port}")
        assert "CERTIFICATE_VERIFY_FAILED" in failed.found
        assert failed.advice.startswith("correct ssl_ca_certs")


async def test_each_mistake_with_sentinels_is_told_as_what_it_is(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with redis_server.sentinel(tmp_path / "sentinel", "main") as sentinel:
        right = f"127.0.0.1:{sentinel.port}"
        sentinel.cli("ACL", "SETUSER", "default", "resetpass", ">secret")
        nobody = f"127.0.0.1:{free_port()}"
        for place, said, advice in (
            (f"{right}/main", f"{right} asks for a password: NOAUTH", "add ?sentinel_password="),
            (
                f"{right}/main?sentinel_password=x",
                "refuses the user or password: WRONGPASS",
                "corr",
            ),
            (f"{right}/other?sentinel_password=secret", "watches no master of that", "the service"),
            (f"{nobody}/main", f"sentinel {nobody} does not answer: Error 111", "start it"),
            (
                f"127.0.0.1:{redis_server.port}/main",
                "is no sentinel: ERR unknown command 'SENTINEL'",
                "set redis.url to the sentinels",
            ),
        ):
            failed = await failure(f"redis+sentinel://{place}")
            assert said in failed.found, place
            assert advice in failed.advice, place
        found = await findings(f"redis+sentinel://{nobody},{right}/main?sentinel_password=secret")
        assert found["redis keys"].status == "ok"
        assert found["redis sentinel"].status == "warning"
        assert nobody in found["redis sentinel"].found


@pytest.mark.parametrize(
    ("url", "said", "advice"),
    [
        ("redis://127.0.0.1:PORT", "127.0.0.1:PORT. Connection refused", "start Redis at that"),
        ("redis://localhost:PORT", "Connection refused", "start Redis at that address"),
        ("redis://no-such-host.invalid", "Name or service not known", "correct the host in redis"),
        ("unix:///nowhere/redis.sock", "No such file or directory", "correct the path of the"),
    ],
)
async def test_each_reason_for_no_connection_has_its_own_advice(
    url: str, said: str, advice: str
) -> None:
    """The kernel's or the resolver's words, and one thing to do."""
    port = str(free_port())
    failed = await failure(url.replace("PORT", port))
    assert said.replace("PORT", port) in failed.found
    assert failed.advice.startswith(advice)


async def test_a_redis_that_says_nothing_is_told(tmp_path: Path) -> None:
    """What accepts connections and does not answer is no Redis that is absent."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "redis.sock"))
        silent.listen()  # and accept none: the kernel does
        failed = await failure(f"unix://{tmp_path}/redis.sock")
    assert failed.advice.startswith("let what is sent to that address arrive")


@pytest.mark.parametrize(
    ("off", "leeway", "status"),
    [(4, 10.0, "ok"), (-60, None, "warning"), (60, 10.0, "failed"), (60, 90.0, "ok")],
)
async def test_clocks_are_compared(
    tmp_path: Path, off: float, leeway: float | None, status: str
) -> None:
    """Redis' with this machine's; where tokens are judged by it, by the leeway for them."""
    clock = Clock(tmp_path)
    clock.set(off)
    with RedisServer(tmp_path, clock=clock) as redis:
        config = RedisConfig(url=redis.url)
        found = {each.check: each async for each in check_redis(config, (), leeway)}
    assert found["clock"].status == status
    side = "behind" if off > 0 else "ahead of"
    said = re.match(rf"this machine's is ([\d.]+) s {side} Redis'", found["clock"].found)
    assert said is not None
    assert float(said[1]) == pytest.approx(abs(off), abs=2)
    assert ("NTP" in found["clock"].advice) is (status != "ok")


async def test_data_of_the_private_server_are_left_alone(tmp_path: Path) -> None:
    """They are checked while a server has them, and nothing is written there."""
    config = RedisConfig(url="embedded://", data_dir=str(tmp_path / "data" / "redis"))
    found = {each.check: each async for each in check_redis(config)}
    assert (found["redis data"].status, found["redis pub/sub"].status) == ("ok", "ok")
    assert not (tmp_path / "data").exists()
    (tmp_path / "file").touch()
    config = RedisConfig(url="embedded://", data_dir=str(tmp_path / "file" / "redis"))
    found = {each.check: each async for each in check_redis(config)}
    assert found["redis data"].found == f"{tmp_path}/file: Not a directory"
    assert found["redis data"].status == "failed"


async def test_what_waits_in_the_stream_of_events_is_told_and_what_was_rejected(
    own_redis: RedisServer,
) -> None:
    """And a key of another type, or a right that a node lacks to take entries, fails the check."""

    async def stream(user: str = "") -> Finding:
        config = RedisConfig(url=f"redis://{user}127.0.0.1:{own_redis.port}")
        found = {each.check: each async for each in check_redis(config, takes_entries=True)}
        assert own_redis.cli("KEYS", "aionotify:check:stream") == []
        return found["redis stream"]

    own_redis.cli("XADD", "aionotify:publish", "*", "event", "{}")
    found = await stream()
    assert (found.status, found.advice) == ("ok", "")
    assert found.found.startswith("aionotify:publish has 1 entries to be taken")
    own_redis.cli("XADD", "aionotify:publish:rejected", "*", "reason", "x")
    found = await stream()
    assert (found.status, found.found[-1]) == ("warning", "1")
    own_redis.cli("ACL", "SETUSER", "me", "on", ">pw", "allkeys", "allchannels", "+@all", "-xread")
    found = await stream("me:pw@")
    assert found.status == "failed"
    assert "'xread'" in found.found
    assert "(ACL)" in found.advice
    own_redis.cli("SET", "aionotify:publish", "x")
    found = await stream()
    assert found.status == "failed"
    assert "WRONGTYPE" in found.found
    assert "delete or rename" in found.advice
