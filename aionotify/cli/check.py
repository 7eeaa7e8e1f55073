"""``aionotify check``: test what the configuration names, and say how to fix problems.

It changes nothing, but publishes one message on its own channel.
"""

import argparse
import asyncio
import atexit
import logging
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import dropwhile
from pathlib import Path

import msgspec
from marshmallow import ValidationError

from aionotify.broker.agreement import inbox_setting, node_settings
from aionotify.cli.check_auth import check_auth
from aionotify.cli.check_redis import check_redis
from aionotify.cli.finding import Finding
from aionotify.cli.service import Service, read_service
from aionotify.cli.unit_file import PLACES
from aionotify.config import SETTINGS, Config, overlooked
from aionotify.config.fields import Origin
from aionotify.errors import ConfigError

_RESERVE = 100  # open files that are not streams: Redis, the main host, logs
_PROXY = 55.0  # seconds; nginx and most load balancers close a connection after 60 without data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what else is checked, and the choice of output."""
    parser.add_argument(
        "--service",
        metavar="NAME",
        help="check what the systemd service of that name would start with: its file,"
        " environment, credentials and limits",
    )
    parser.add_argument(
        "--origin",
        metavar="ORIGIN",
        type=_origin,
        help="check whether pages of this origin, https://app.example.com, may open streams",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(unit=None, refuse=parser.error)


def prepare(args: argparse.Namespace) -> None:
    """With ``--service``, have settings come from where the service has them from.

    Raises ConfigError: there is no such service, or it would not start.
    """
    if args.service is None:
        return
    if args.config is not None:
        args.refuse("--service has a configuration of its own: leave out --config")
    # In memory, as systemd has it, if we may.
    runtime = tempfile.mkdtemp(dir="/run" if os.access("/run", os.W_OK) else None)
    atexit.register(shutil.rmtree, runtime, ignore_errors=True)
    args.unit = read_service(args.service, runtime, _unit_directories())
    for name, content in args.unit.credentials.items():
        Path(runtime, os.path.basename(name)).write_bytes(content)
    for name in [name for name in os.environ if name.startswith(("AIONOTIFY_", "SSL_CERT_"))]:
        del os.environ[name]
    os.environ.update(args.unit.environ)
    os.chdir(args.unit.directory)
    words = list(dropwhile(lambda word: word != "serve", args.unit.command))
    if not words:
        raise ConfigError({"ExecStart=": "starts no aionotify serve"}, args.service)
    served = args.parse(words)
    args.config = served.config
    flags = {name: text for name, text in vars(served).items() if name in SETTINGS}
    vars(args).update({**flags, **vars(args)})


def run(args: argparse.Namespace, config: Config) -> int:
    """Check everything, print the findings, and return 1 if any check failed."""
    logging.getLogger("aionotify").setLevel(logging.CRITICAL)  # the findings say all of it
    findings = asyncio.run(check(config, args.unit, args.origin))
    if args.unit is not None:
        findings = [*_service(args.unit, args.config, config), *findings]
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


async def check(
    config: Config, service: Service | None = None, origin: str | None = None
) -> list[Finding]:
    """Return the findings of every check, in a fixed order.

    Args:
        service: whose limits count instead of ours.
        origin: of pages that are to open streams.
    """
    kept = inbox_setting(config.inbox.retention, config.inbox.max_events)
    settings = (kept, *node_settings(config))
    leeway = config.auth.jwt.leeway if config.auth.method == "jwt" else None
    asked = check_redis(
        config.redis,
        settings,
        leeway,
        takes_entries=config.publish.stream,
        features=_features(config),
    )
    redis, auth = await asyncio.gather(
        _collected(asked),
        check_auth(config.auth),
    )
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1] if service is None else service.open_files
    pages = [] if origin is None else [_pages(origin, config)]
    return [*_settings(config), *_open_files(config, limit), *redis, auth, *pages]


def _unit_directories() -> list[str]:
    """Return where units are looked for; a colon at the end adds the usual places to others."""
    given = os.environ.get("SYSTEMD_UNIT_PATH", "").split(":")
    return [place for place in given if place] + (list(PLACES) if not given[-1] else [])


def _service(service: Service, file: str | None, config: Config) -> Iterator[Finding]:
    """Say what was read, and whether the service can read it too."""
    unit, *drop_ins = service.unit.files
    credentials = ", ".join(sorted(service.credentials)) or "none"
    found = f"{unit}, drop-ins: {len(drop_ins)}, configuration: {file}, credentials: {credentials}"
    yield Finding("service", "ok", found)
    runtime = service.environ["CREDENTIALS_DIRECTORY"]
    variables = [text for name, text in service.environ.items() if name.endswith("_FILE")]
    readable = "let the service's user read it; a secret becomes a credential (LoadCredential=)"
    files = {path: readable for path in (file, *variables, config.auth.jwt.key_file) if path}
    for path, advice in {service.command[0]: "install it in /opt", **files}.items():
        if not path.startswith(runtime) and (reason := service.why_not(path)) is not None:
            yield Finding("service", "failed", f"it cannot read {path}: {reason}", advice)


def _pages(origin: str, config: Config) -> Finding:
    """Find out whether browsers give pages of `origin` what we answer (Fetch Standard, CORS)."""
    allowed = config.cors.origins
    if origin in allowed:
        return Finding("cors", "ok", f"pages of {origin} may open streams")
    return Finding(
        "cors",
        "failed",
        f"pages of {origin} are refused: cors.origins has {', '.join(allowed) or 'none'}",
        f"add {origin} to cors.origins, unless /notify is served at that origin itself",
    )


def _origin(text: str) -> str:
    try:
        return str(Origin().deserialize(text))
    except ValidationError as error:
        raise argparse.ArgumentTypeError(str(error.messages[0])) from None


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


def _open_files(config: Config, hard: int) -> Iterator[Finding]:
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


def _features(config: Config) -> list[str]:
    """What is on that takes rights of its own in Redis."""
    on = {
        "presence": config.presence.events,
        "memberships": config.groups.memberships,
        "away": config.away.is_on,
    }
    return [name for name, is_on in on.items() if is_on]
