"""Whether users can be identified, for ``aionotify check``: a made-up token has to be refused.

Says the cause in the words of the kernel, the resolver or TLS, and one thing to do.
"""

import base64
import secrets
import time
from typing import Final

import msgspec

from aionotify.auth.jwt.authenticator import JWTAuthenticator
from aionotify.auth.main_host.client import Accepted, MainHostClient
from aionotify.cli.finding import Finding
from aionotify.config import AuthConfig, JWTConfig, MainHostConfig
from aionotify.errors import AuthError, ConfigError, InvalidToken

_ADVICE: Final = (
    ("Connection refused", "start it at that address"),
    ("its name ", "correct the host in {url}"),
    ("its certificate ", "give it a certificate for that name from an authority trusted here"),
    ("it speaks no TLS", "write http:// in {url}"),
    ("it speaks TLS", "write https:// in {url}"),
    ("it did not answer in time", "find out what keeps it, or what is sent to it, from arriving"),
    ("the main host answered 3", "set {url} to the address that it redirects to"),
    ("the main host answered 404", "correct auth.main_host.path"),
    ("the main host answered 5", "find the reason in its log"),
    ("its answer is not HTTP", "correct the port in {url}"),
)
"""How a reason begins, in the words of `auth.http_client` or `main_host.client`, and what to do."""


async def check_auth(config: AuthConfig) -> Finding:
    """Check a token that nobody has made."""
    return await (_jwt(config.jwt) if config.method == "jwt" else _main_host(config.main_host))


def _advice(reason: str, url: str, otherwise: str) -> str:
    found = (advice for start, advice in _ADVICE if reason.startswith(start))
    return next(found, otherwise).format(url=url)


async def _jwt(config: JWTConfig) -> Finding:
    """To refuse the token, the authenticator needs the keys."""
    try:
        authenticator = JWTAuthenticator(config)
    except ConfigError as error:
        problem = "; ".join(f"{path}: {text}" for path, text in error.problems.items())
        return Finding("jwt", "failed", problem, "configure the key of the tokens' issuer")
    header = {"alg": config.algorithms[0], "kid": secrets.token_hex(8)}
    try:
        await authenticator.identify(".".join([_base64(header), _base64({}), "c2ln"]))
    except InvalidToken:
        return Finding("jwt", "ok", "the key is there, and a made-up token is refused")
    except AuthError as error:
        reason = authenticator.problem or str(error)
        advice = _advice(reason, "auth.jwt.jwks_url", "it must answer with a JSON Web Key Set")
        return Finding("jwt", "failed", f"{config.jwks_url}: {reason}", advice)
    finally:
        await authenticator.close()
    return Finding("jwt", "failed", "a made-up token is accepted", "use a key that refuses it")


def _base64(part: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=").decode()


async def _main_host(config: MainHostConfig) -> Finding:
    client, started = MainHostClient(config), time.perf_counter()
    try:
        answer = await client.ask(secrets.token_urlsafe(24))
    finally:
        await client.close()
    took = 1000 * (time.perf_counter() - started)
    if isinstance(answer, Accepted):
        found = f"{client.url} accepts a made-up token"
        return Finding("main host", "failed", found, "it must answer 401 or 403")
    if answer.error is InvalidToken:
        return Finding("main host", "ok", f"{client.url} refuses a made-up token in {took:.1f} ms")
    advice = "have it answer 401 or 403 to a token that it does not know"
    advice = _advice(answer.reason, "auth.main_host.url", advice)
    return Finding("main host", "failed", f"{client.url}: {answer.reason}", advice)
