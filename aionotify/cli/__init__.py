"""The command line: which command, with which configuration, and the exit code.

A command's module is imported when it runs, so that ``--help`` is quick and no command needs the
extras of another one. Expected errors are one block on standard error, without a traceback.
"""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from itertools import groupby

from aionotify._version import __version__
from aionotify.config import SETTINGS, Config, Setting, load_config, suggestion
from aionotify.errors import AionotifyError, ConfigError
from aionotify.process.signals import hold_hangup
from aionotify.telemetry import logs

OK, FAILED, USAGE = 0, 1, 2  # exit codes; argparse, too, ends with 2

_WORKER = "AIONOTIFY_WORKER"  # set by aionotify.process.supervisor for a process that it starts

_EPILOG = """\
The configuration file is FILE, or else $AIONOTIFY_CONFIG, or else ./config.yaml if it exists.
A variable AIONOTIFY_SECTION__KEY wins over the file, a flag --section.key over both.
docs/configuration.rst explains every setting.
"""

Command = Callable[[argparse.Namespace, Config], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 failed, 2 usage or configuration."""
    try:
        code = _run(argv)
        sys.stdout.flush()  # here, where what goes wrong can be told
        return code
    except BrokenPipeError:
        _discard_output()  # its reader has gone
    except OSError as error:  # the disk is full, a file cannot be read
        _discard_output()
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{error.strerror or error}", FAILED)
    except UnicodeEncodeError:
        _discard_output()
        return _complain("an argument is not text in UTF-8", USAGE)
    return FAILED


def _discard_output() -> None:
    """Let the interpreter, which flushes standard output at its end, have no trouble with it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(argv: Sequence[str] | None) -> int:
    try:
        if _WORKER in os.environ:
            from aionotify.process import worker

            return worker.main()
        args = _parse(sys.argv[1:] if argv is None else argv)
        if args.command == "serve":
            hold_hangup()  # or a SIGHUP after the file has been read would end the process
        args.prepare(args)
        # A file that is still to be written cannot be read.
        config = Config() if args.command == "init" else _config(args)
        logs.configure(config.log.level, config.log.format)
        run: Command = args.run
        return run(args, config)
    except ConfigError as error:
        return _complain(error, USAGE)
    except AionotifyError as error:
        return _complain(error, FAILED)
    except KeyboardInterrupt:
        return FAILED
    except SystemExit as ended:  # argparse's way; it has said why
        return int(ended.code or OK)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = _parser(argv[0] if argv else None)
    args, rest = parser.parse_known_args(argv)
    if rest:
        # The value is not shown: it may be the key of a misspelt setting.
        flag = rest[0].partition("=")[0]
        if flag.removeprefix("--") in SETTINGS:
            parser.error(f"aionotify {args.command} does not use {flag}")
        parser.error(f"unknown argument {flag}{_meant(flag) if flag.startswith('--') else ''}")
    return args


def _meant(flag: str) -> str:
    """Return the end of a sentence that suggests a flag for an unknown one."""
    path = flag.removeprefix("--").replace("-", "_")
    name = path.rpartition(".")[2]
    close = get_close_matches(path, [*SETTINGS, "config"], 1)
    close = close or [known for known in SETTINGS if known.rpartition(".")[2] == name]
    if close:
        return f"; did you mean {' or '.join(f'--{known}' for known in close)}?"
    return suggestion(path, list(SETTINGS)) if "." in path else ""


def _complain(error: AionotifyError | str, code: int) -> int:
    with contextlib.suppress(OSError):  # then the code has to do
        print(f"aionotify: {error}", file=sys.stderr)
    return code


def _config(args: argparse.Namespace) -> Config:
    args.config = args.config or os.environ.get("AIONOTIFY_CONFIG")
    if args.config is None and os.path.exists("config.yaml"):
        args.config = "config.yaml"
    overrides = {name: text for name, text in vars(args).items() if name in SETTINGS}
    return load_config(args.config, overrides=overrides)


_COMMANDS = {
    "init": "write a configuration file with a fresh publish key",
    "serve": "run the server",
    "demo": "run a demo: a server, two users, and a page to send and watch notifications",
    "publish": "publish one event, or many from standard input",
    "listen": "print the notifications of a user",
    "top": "watch nodes at work",
    "check": "test the configuration, Redis and the main host, and say how to fix problems",
    "token": "make a JWT for a user, to try things with",
    "systemd": "print or write the systemd units of this installation",
}
_MODULES = {
    "init": "aionotify.cli.init",
    "serve": "aionotify.cli.serve",
    "demo": "aionotify.demo",
    "publish": "aionotify.cli.publish",
    "listen": "aionotify.cli.listen",
    "top": "aionotify.cli.top",
    "check": "aionotify.cli.check",
    "token": "aionotify.cli.token",
    "systemd": "aionotify.cli.systemd",
}
"""Where a command's ``add_arguments(parser)`` and ``run(args, config)`` are.

And its ``prepare(args)``, if a flag says where settings come from: that is before they are read.
"""
_USES = {
    "demo": "redis.channel redis.prefix events inbox stream log.format",
    "publish": "redis events inbox log",
    "listen": "server.host server.port log",
    "top": "server.host server.port admin.host admin.port log",
    "token": "auth log",
    "systemd": "server.host server.port server.drain log",
}
"""Which settings, or sections of them, a command goes by; those not named here go by all."""


def _parser(command: str | None) -> argparse.ArgumentParser:
    """Return the parser; only `command` gets its arguments, because they cost an import."""
    parser = argparse.ArgumentParser(
        prog="aionotify",
        description="Push notifications to signed-in users over Server-Sent Events.",
        epilog="aionotify serve --help lists every setting.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, does in _COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=does,
            description=f"{does[0].upper()}{does[1:]}.",
            epilog=_EPILOG,
            allow_abbrev=False,
            formatter_class=_Help,
        )
        if name == command:
            _add_arguments(sub, name)
    return parser


def _add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.set_defaults(command=command, load=_config, parse=_parse)
    if command != "init":  # which reads no configuration
        parser.add_argument("--config", metavar="FILE", help="configuration file, in YAML")
    module = importlib.import_module(_MODULES[command])
    module.add_arguments(parser)
    parser.set_defaults(run=module.run, prepare=getattr(module, "prepare", _as_they_are))
    if command == "init":
        parser.epilog = None
    else:
        _add_settings(parser, command)


def _as_they_are(args: argparse.Namespace) -> None:
    """Leave the arguments as they are."""


def _add_settings(parser: argparse.ArgumentParser, command: str) -> None:
    shown, uses = command == "serve", _USES.get(command, "").split()
    used = [item for item in SETTINGS.values() if not uses or _is_among(item, uses)]
    for section, settings in groupby(used, lambda item: item.path.rpartition(".")[0]):
        group = parser.add_argument_group(section)
        for item in settings:
            group.add_argument(
                f"--{item.path}",
                metavar="VALUE",
                default=argparse.SUPPRESS,
                help=_explained(item) if shown else argparse.SUPPRESS,
            )


def _is_among(item: Setting, names: Collection[str]) -> bool:
    return item.path in names or item.path.partition(".")[0] in names


def _explained(item: Setting) -> str:
    return f"{item.does} (default {item.default_text})".replace("%", "%%")


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=38)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *args: object) -> None:
        print(f"aionotify {__version__}")
        parser.exit(OK)
