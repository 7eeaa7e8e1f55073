"""``aionotify check``: test what the configuration names, and say how to fix problems.

It changes nothing, but publishes one message on its own channel.
"""

import argparse
import asyncio
import base64
import logging
import os
import resource
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterator

import msgspec

from aionotify.auth.jwt.authenticator import JWTAuthenticator
from aionotify.auth.main_host.client import Accepted, MainHostClient
from aionotify.broker.agreement import inbox_setting, node_settings
from aionotify.cli.check_redis import check_redis
from aionotify.cli.finding import Finding
from aionotify.config import SETTINGS, AuthConfig, Config, overlooked
from aionotify.errors import AuthError, ConfigError, InvalidToken

_RESERVE = 100  # open files that are not streams: Redis, the main host, logs
_PROXY = 55.0  # seconds; nginx and most load balancers close a connection after 60 without data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choice of output."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace, config: Config) -> int:
    """Check everything, print the findings, and return 1 if any check failed."""
    logging.getLogger("aionotify").setLevel(logging.CRITICAL)  # the findings say all of it
    findings = asyncio.run(check(config))
    if args.json:
        print(msgspec.json.encode(findings).decode())
    elif sys.stdout.isatty():
        _print_table(findings)
    else:
        for each in findings:
            print(f"{each.status:8} {each.check}: {each.found}")
            if each.advice:
                print(f"{'':8} -> {each.advice}")
    return int(any(each.status == "failed" for each in findings))


async def check(config: Config) -> list[Finding]:
    """Return the findings of every check, in a fixed order."""
    settings = inbox_setting(config.inbox.retention, config.inbox.max_events)
    settings_of_all = (settings, *node_settings(config))
    takes_entries = config.publish.stream
    redis, auth = await asyncio.gather(
        _collected(check_redis(config.redis, settings_of_all, takes_entries=takes_entries)),
        _collected(_auth(config.auth)),
    )
    return [*_settings(config), *_open_files(config), *redis, *auth]


async def _collected(findings: AsyncIterator[Finding]) -> list[Finding]:
    return [each async for each in findings]


def _settings(config: Config) -> Iterator[Finding]:
    yield Finding("configuration", "ok", "every setting is valid")
    for name, meant in overlooked(os.environ, SETTINGS).items():
        yield Finding("environment", "warning", f"{name} is not read", f"rename it to {meant}")
    if config.stream.heartbeat > _PROXY:
        yield Finding(
            "heartbeat",
            "warning",
            f"every {config.stream.heartbeat:g} s",
            "proxies close a connection after 30 to 100 s without data; set stream.heartbeat to 15",
        )
    if config.admin.publish_keys and config.admin.port is None:
        yield Finding(
            "publishing",
            "warning",
            "/publish is on the same address as /notify",
            "set admin.port, or let the proxy in front pass on only /notify",
        )


def _open_files(config: Config) -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        yield Finding("open files", "ok", "no limit")
        return
    wanted = config.server.max_streams or 10_000
    room = hard - _RESERVE
    yield Finding(
        "open files",
        "ok" if room >= wanted else "failed" if config.server.max_streams else "warning",
        f"{hard} at most, room for {max(room, 0)} streams per process",
        "" if room >= wanted else f"raise it to {wanted + _RESERVE}: LimitNOFILE= or ulimit -n",
    )


async def _auth(config: AuthConfig) -> AsyncIterator[Finding]:
    yield await (_jwt(config) if config.method == "jwt" else _main_host(config))


async def _jwt(config: AuthConfig) -> Finding:
    """Check a made-up token; to refuse it, the authenticator needs the keys."""
    try:
        authenticator = JWTAuthenticator(config.jwt)
    except ConfigError as error:
        problem = "; ".join(f"{path}: {text}" for path, text in error.problems.items())
        return Finding("jwt", "failed", problem, "configure the key of the tokens' issuer")
    header = {"alg": config.jwt.algorithms[0], "kid": secrets.token_hex(8)}
    try:
        await authenticator.identify(".".join([_base64(header), _base64({}), "c2ln"]))
    except InvalidToken:
        return Finding("jwt", "ok", "the key is there, and a made-up token is refused")
    except AuthError as error:
        found = f"{config.jwt.jwks_url}: {authenticator.problem or error}"
        return Finding("jwt", "failed", found, "it must answer with a JSON Web Key Set")
    finally:
        await authenticator.close()
    return Finding("jwt", "failed", "a made-up token is accepted", "use a key that refuses it")


def _base64(part: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=").decode()


async def _main_host(config: AuthConfig) -> Finding:
    """Ask about a made-up token; the main host must refuse it."""
    url = config.main_host.url.rstrip("/") + config.main_host.path
    client, started = MainHostClient(config.main_host), time.perf_counter()
    try:
        answer = await client.ask(secrets.token_urlsafe(24))
    finally:
        await client.close()
    took = 1000 * (time.perf_counter() - started)
    if isinstance(answer, Accepted):
        found = f"{url} accepts a made-up token"
        return Finding("main host", "failed", found, "it must answer 401 or 403")
    if answer.error is InvalidToken:
        return Finding("main host", "ok", f"{url} refuses a made-up token in {took:.1f} ms")
    return Finding(
        "main host",
        "failed",
        f"{url}: {answer.reason}",
        "start it, or set auth.main_host.url and path; it must answer 401 or 403 to a bad token",
    )


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    colors = {"ok": "green", "warning": "yellow", "failed": "red"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in findings:
        color = colors[each.status]
        table.add_row(f"[{color}]{each.status}[/]", each.check, each.found)
        if each.advice:
            table.add_row("", "", f"[{color}]->[/] {each.advice}")
    Console().print(table)
