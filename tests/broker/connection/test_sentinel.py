"""Real sentinels, of one mind or not, and the masters that they lead to."""

import ssl
from pathlib import Path

import pytest

from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.connection.sentinel import Objection
from aionotify.config import RedisConfig
from aionotify.errors import BrokerRefused, BrokerUnavailable
from tests.broker.connection.helpers import connections, endpoint, published, say, write_certificate
from tests.harness import RedisServer, TcpProxy, eventually, free_port

# A sentinel takes a while to start, and half a second to believe that something is down.
pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])


async def test_sentinels_lead_to_the_master_and_to_the_next_one(tmp_path: Path) -> None:
    """Commands and subscribers follow a failover; a sentinel that is down is passed over."""
    directories = [tmp_path / name for name in ("first", "second", "sentinel")]
    for directory in directories:
        directory.mkdir()
    at_once = {"repl-diskless-sync-delay": "0"}
    with (
        RedisServer(directories[0], options=at_once) as first,
        RedisServer(directories[1]) as second,
    ):
        second.cli("REPLICAOF", "127.0.0.1", first.port)
        await eventually(lambda: second.cli("ROLE")[3] == "connected")
        with first.sentinel(directories[2], "main") as sentinel:
            hosts = f"127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}"
            async with endpoint(f"redis+sentinel://{hosts}/main/0") as made:
                await published(made, "channel")
                assert connections(first, "aionotify-writes") == 1

                await eventually(lambda: sentinel.cli("SENTINEL REPLICAS", "main"))
                first.kill()
                named = ("127.0.0.1", second.port)
                await eventually(
                    lambda: sentinel.cli("SENTINEL GET-MASTER-ADDR-BY-NAME", "main") == named
                )
                await published(made, "channel")
                assert connections(second, "aionotify-writes") == 1

            async with endpoint(f"redis+sentinel://{hosts}/unheard") as made:
                with pytest.raises(BrokerUnavailable, match="no sentinel knows a master"):
                    await made.subscriber()


async def test_a_node_that_is_not_the_master_is_not_taken_for_one(tmp_path: Path) -> None:
    """A sentinel may be behind, so the node has to confirm; a demoted one is given up."""
    (tmp_path / "sentinel").mkdir()
    with (
        RedisServer(tmp_path) as server,
        server.sentinel(tmp_path / "sentinel", "main") as sentinel,
    ):
        async with endpoint(f"redis+sentinel://127.0.0.1:{sentinel.port}/main") as made:
            assert await say(made, "PING") == b"PONG"
            server.cli("REPLICAOF", "127.0.0.1", free_port())
            with pytest.raises(BrokerRefused, match="read only replica"):
                await say(made, "SET", "key", "value")
            await eventually(lambda: connections(server, "aionotify-writes") == 0)
            with pytest.raises(BrokerUnavailable, match="is not the master"):
                await made.subscriber()
            with pytest.raises(BrokerUnavailable, match="is not the master"):
                await say(made, "PING")
            server.cli("REPLICAOF", "NO", "ONE")
            assert await say(made, "PING") == b"PONG"


@pytest.mark.parametrize("newest_first", [True, False])
async def test_the_sentinel_with_the_newest_configuration_is_believed(
    redis_server: RedisServer, own_redis: RedisServer, tmp_path: Path, newest_first: bool
) -> None:
    """One that was cut off goes on naming the master of before, which may still believe it is."""
    with (
        own_redis.sentinel(tmp_path / "behind", "main", epoch=6) as behind,
        redis_server.sentinel(tmp_path / "knows", "main", epoch=7) as knows,
    ):
        ports = [knows.port, behind.port] if newest_first else [behind.port, knows.port]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        async with endpoint(f"redis+sentinel://{hosts}/main") as made:
            await published(made, "channel")
            assert await made.named_master() == ("127.0.0.1", redis_server.port)
            assert connections(own_redis, "aionotify-writes") == 0
            [objection] = made.objections
            assert objection.objection is Objection.BEHIND
            assert f"127.0.0.1:{behind.port} names another master: " in str(objection)


@pytest.mark.parametrize("wrong", ["a replica", "down", "hung", "nobody"])
async def test_what_is_no_master_is_passed_over(
    redis_server: RedisServer, own_redis: RedisServer, tmp_path: Path, wrong: str
) -> None:
    """At once, and from then on it is asked last, though its configuration is the newest."""
    port = free_port() if wrong == "nobody" else own_redis.port
    with (
        redis_server.sentinel(tmp_path / "knows", "main") as knows,
        own_redis.sentinel(tmp_path / "wrong", "main", port=port, epoch=7) as astray,
    ):
        hosts = f"127.0.0.1:{astray.port},127.0.0.1:{knows.port}"
        match wrong:
            case "a replica":
                own_redis.cli("REPLICAOF", "127.0.0.1", redis_server.port)
            case "down":
                own_redis.kill()
                await eventually(lambda: "s_down" in astray.cli("SENTINEL MASTER", "main")["flags"])
            case "hung":
                own_redis.pause()
        async with endpoint(f"redis+sentinel://{hosts}/main") as made:
            for _ in range(2):
                await published(made, "channel")
                assert await made.named_master() == ("127.0.0.1", redis_server.port)


async def test_a_master_that_comes_back_is_believed_again(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    """What was wrong with it once is forgotten when it is the master."""
    with own_redis.sentinel(tmp_path / "sentinel", "main") as sentinel:
        async with endpoint(f"redis+sentinel://127.0.0.1:{sentinel.port}/main") as made:
            own_redis.stop()
            with pytest.raises(BrokerUnavailable, match="Connect"):
                await made.subscriber()
            own_redis.start()
            await published(made, "channel")


async def test_the_named_master_is_asked_for_on_connections_that_are_kept(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """They are made again when a sentinel was restarted; with none left, that is what is said."""
    with redis_server.sentinel(tmp_path / "sentinel", "main") as sentinel:
        async with endpoint(f"redis+sentinel://127.0.0.1:{sentinel.port}/main") as made:
            for _ in range(10):
                assert await made.named_master() == ("127.0.0.1", redis_server.port)
            assert connections(sentinel, "aionotify-sentinel") == 1
            sentinel.restart()
            assert await made.named_master() == ("127.0.0.1", redis_server.port)
            sentinel.stop()
            with pytest.raises(BrokerUnavailable, match="does not answer"):
                await made.named_master()
    async with endpoint(redis_server.url) as made:
        assert await made.named_master() is None


async def test_a_sentinel_that_hangs_keeps_nobody_waiting(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with (
        redis_server.sentinel(tmp_path / "hangs", "main") as hangs,
        redis_server.sentinel(tmp_path / "answers", "main") as answers,
    ):
        hosts = f"127.0.0.1:{hangs.port},127.0.0.1:{answers.port}"
        async with endpoint(f"redis+sentinel://{hosts}/main") as made:
            for _ in range(2):  # with a connection of before, and with a new one
                assert await made.named_master() == ("127.0.0.1", redis_server.port)
                hangs.pause()
                await published(made, "channel")
                assert [each.objection for each in made.objections] == [Objection.ABSENT]


async def test_sentinels_and_master_are_entered_with_tls_and_a_login_for_each(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    certificate = tmp_path / "redis.pem"
    write_certificate(certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    own_redis.cli("ACL", "SETUSER", "me", "on", ">p+w", "allkeys", "allchannels", "+@all")
    async with TcpProxy(own_redis.port, tls=context) as redis:
        with own_redis.sentinel(tmp_path / "sentinel", "main", port=redis.port) as sentinel:
            sentinel.cli("ACL", "SETUSER", "them", "on", ">s+w", "allchannels", "+@all")
            sentinel.cli("ACL", "SETUSER", "default", "resetpass", ">other")
            async with TcpProxy(sentinel.port, tls=context) as proxy:
                url = f"rediss+sentinel://me:p+w@127.0.0.1:{proxy.port}/main"
                login = "sentinel_username=them&sentinel_password=s+w"
                async with endpoint(f"{url}?{login}&ssl_ca_certs={certificate}") as made:
                    await published(made, "channel")
                    assert await made.named_master() == ("127.0.0.1", redis.port)
                async with endpoint(f"{url}?{login}") as made:
                    with pytest.raises(BrokerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                        await made.subscriber()
                async with endpoint(f"{url}?ssl_ca_certs={certificate}") as made:
                    with pytest.raises(BrokerUnavailable, match="asks for a password: NOAUTH"):
                        await made.subscriber()


@pytest.mark.parametrize(
    ("rules", "answered"),
    [
        (("-sentinel|master",), True),
        (("-sentinel",), False),
    ],
)
async def test_a_sentinel_may_permit_the_address_alone(
    redis_server: RedisServer, tmp_path: Path, rules: tuple[str, ...], answered: bool
) -> None:
    """Without its epoch it is believed last; with no right at all, that is what is said."""
    with redis_server.sentinel(tmp_path / "sentinel", "main") as sentinel:
        sentinel.cli("ACL", "SETUSER", "them", "on", ">pw", "allchannels", "+@all", *rules)
        login = "?sentinel_username=them&sentinel_password=pw"
        async with endpoint(f"redis+sentinel://127.0.0.1:{sentinel.port}/main{login}") as made:
            if answered:
                await published(made, "channel")
            else:
                with pytest.raises(BrokerUnavailable, match=r"does not permit .* NOPERM"):
                    await made.subscriber()


async def test_a_master_that_may_not_be_asked_what_it_is_has_the_sentinels_word(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    own_redis.cli("ACL", "SETUSER", "me", "on", ">pw", "allkeys", "allchannels", "+@all", "-role")
    with own_redis.sentinel(tmp_path / "sentinel", "main") as sentinel:
        async with endpoint(f"redis+sentinel://me:pw@127.0.0.1:{sentinel.port}/main") as made:
            await published(made, "channel")


async def test_a_password_of_the_sentinels_is_changed(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """The connections that are kept to them are other ones then; with a wrong one they stay."""
    with redis_server.sentinel(tmp_path / "sentinel", "main") as sentinel:
        sentinel.cli("ACL", "SETUSER", "them", "on", ">old", "+@all")

        def url(password: str) -> str:
            login = f"sentinel_username=them&sentinel_password={password}"
            return f"redis+sentinel://127.0.0.1:{sentinel.port}/main?{login}"

        def ours() -> set[str]:
            return {each["id"] for each in sentinel.cli("CLIENT LIST") if each["user"] == "them"}

        async with endpoint(url("old")) as made:
            place = await made.named_master()
            before = ours()
            assert len(before) == 1
            sentinel.cli("ACL", "SETUSER", "them", "resetpass", ">new")
            assert made.adopt(Endpoint(RedisConfig(url=url("wrong"))))
            with pytest.raises(BrokerRefused, match="WRONGPASS"):
                await made.renew()
            assert await made.named_master() == place
            assert ours() == before
            assert made.adopt(Endpoint(RedisConfig(url=url("new"))))
            await made.renew()
            assert await made.named_master() == place
            await eventually(lambda: len(ours()) == 1 and not ours() & before)
