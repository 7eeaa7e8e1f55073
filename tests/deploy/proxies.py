"""nginx, HAProxy and Caddy with the configurations that we ship, free ports and made-up keys."""

import asyncio
import datetime
import signal
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.deploy.node import REPOSITORY
from tests.harness import eventually, free_port

SERVICES = REPOSITORY / "build/services/bin"


def service(name: str) -> str:
    """Return the path of a program that scripts/install-services has put there."""
    path = SERVICES / name
    assert path.exists(), f"{name} is missing: run scripts/install-services"
    return str(path)


def certify(directory: Path) -> ssl.SSLContext:
    """Make ``tls.pem``, a key and a certificate for 127.0.0.1; return how a client trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "push.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("push.example.com")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (directory / "tls.pem").write_bytes(public + private)
    context = ssl.create_default_context(cadata=public.decode())
    context.set_alpn_protocols(["h2"])
    return context


class Proxy:
    """A proxy in front of nodes.

    Args:
        directory: for what it writes; it has to hold ``tls.pem``.
        nodes: ports of two nodes, or of one.
        connections: that it may have, to both sides together.
    """

    template: ClassVar[str]

    def __init__(self, directory: Path, nodes: Sequence[int], connections: int = 2000) -> None:
        self.port, self.plain_port = free_port(), free_port()
        self._directory = directory
        self._nodes = nodes
        self._connections = connections
        self._process: asyncio.subprocess.Process | None = None

    def command(self) -> list[str]:
        """Write the configuration and return what runs it."""
        raise NotImplementedError

    def adapted(self, *changes: tuple[str, str], file: str = "") -> str:
        """Return our configuration with what has to be other than on a real machine."""
        text = (REPOSITORY / "scripts" / self.template / file).read_text("utf-8")
        for old, new in changes:
            assert old in text, f"{self.template} {file} has no {old!r}"
            text = text.replace(old, new)
        return text

    def second(self, line: str) -> tuple[str, str]:
        """The change of the second node's line."""
        return (line, line.replace("8011", str(self._nodes[1])) if self._nodes[1:] else "")

    async def __aenter__(self) -> Self:
        with (self._directory / f"{self.template}.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command(), stdout=log, stderr=log, start_new_session=True
            )
        await eventually(self._listens)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        await self._process.wait()

    def log(self) -> str:
        """What it had to complain about."""
        return (self._directory / f"{self.template}.log").read_text("utf-8")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Nginx(Proxy):
    template = "nginx"  # a folder, laid out as /etc/nginx

    def command(self) -> list[str]:
        pem, logs = str(self._directory / "tls.pem"), ("/var/log/nginx/", f"{self._directory}/")
        second = "server 127.0.0.1:{} max_fails=0;\n"
        changes: dict[str, list[tuple[str, str]]] = {
            "conf.d/aionotify-variables.conf": [],
            "conf.d/aionotify-nodes.conf": [
                ("127.0.0.1:8001", f"127.0.0.1:{self._nodes[0]}"),
                ("# " + second.format(8011), "".join(map(second.format, self._nodes[1:]))),
            ],
            "snippets/aionotify.conf": [logs],
            "sites-available/push.conf": [
                ("listen 80;", f"listen 127.0.0.1:{self.plain_port};"),
                ("listen 443 ", f"listen 127.0.0.1:{self.port} "),
                ("/etc/ssl/aionotify.pem", pem),
                ("/etc/ssl/private/aionotify.key", pem),
                logs,
            ],
        }
        for file, replaced in changes.items():
            (self._directory / file).parent.mkdir(exist_ok=True)
            (self._directory / file).write_text(self.adapted(*replaced, file=file))
        main = self._directory / "main.conf"
        # Temporary files of its own, and the user that it is started by: it may be root's.
        folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        places = "".join(f"{each}_temp_path {self._directory}/{each};\n" for each in folders)
        main.write_text(
            f"daemon off;\nuser root;\nworker_processes 2;\npid {self._directory}/nginx.pid;\n"
            f"error_log stderr warn;\nevents {{ worker_connections {self._connections}; }}\n"
            f"http {{\n{places}access_log off;\n"
            "include conf.d/*.conf;\ninclude sites-available/*.conf;\n}\n"
        )
        return [service("nginx"), "-p", str(self._directory), "-c", str(main), "-e", "stderr"]


class HAProxy(Proxy):
    template = "haproxy.cfg"

    def command(self) -> list[str]:
        config = self._directory / "haproxy.cfg"
        config.write_text(
            self.adapted(
                ("bind :80\n", f"bind 127.0.0.1:{self.plain_port}\n"),
                ("bind :443 ", f"bind 127.0.0.1:{self.port} "),
                ("/etc/haproxy/aionotify.pem", str(self._directory / "tls.pem")),
                ("log /dev/log local0", "log stdout format raw local0"),
                ("    user haproxy\n    group haproxy\n", ""),
                ("maxconn 20000", f"maxconn {self._connections}"),
                ("127.0.0.1:8001", f"127.0.0.1:{self._nodes[0]}"),
                self.second("    server b 127.0.0.1:8011\n"),
            )
        )
        return [service("haproxy"), "-f", str(config)]


class Caddy(Proxy):
    template = "Caddyfile"

    def command(self) -> list[str]:
        config, pem = self._directory / "Caddyfile", self._directory / "tls.pem"
        # On ports of its own, with a certificate of ours, and without its interface for reloads,
        # whose port is always the same.
        ports = f"\thttp_port {self.plain_port}\n\thttps_port {self.port}\n"
        local = f"\tadmin off\n\tdefault_bind 127.0.0.1\n{ports}"
        second = f" 127.0.0.1:{self._nodes[1]}" if self._nodes[1:] else ""
        config.write_text(
            self.adapted(
                ("\tgrace_period 30s\n", f"{local}\tgrace_period 1s\n"),
                ("push.example.com {\n", f"push.example.com {{\n\ttls {pem} {pem}\n"),
                ("127.0.0.1:8001 127.0.0.1:8011", f"127.0.0.1:{self._nodes[0]}{second}"),
            )
        )
        # It keeps things in the home directory of who starts it.
        home = ["env", "-u", "XDG_DATA_HOME", "-u", "XDG_CONFIG_HOME", f"HOME={self._directory}"]
        run = ["run", "--config", str(config), "--adapter", "caddyfile"]
        return [*home, service("caddy"), *run]
