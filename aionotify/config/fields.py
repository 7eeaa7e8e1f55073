"""Fields: the types of settings' values. Each checks a value, reads it from text, and names itself.

This module knows neither the sources of values nor any particular setting.
"""

import base64
import ipaddress
import re
from collections.abc import Mapping, Sequence
from reprlib import Repr
from typing import Any, cast
from urllib.parse import urlsplit

import marshmallow
from marshmallow import ValidationError

from aionotify.config import redis_url, yaml12

_SHOWN = Repr()
_SHOWN.maxstring = _SHOWN.maxother = 80  # characters of a wrong value in an error


class Field(marshmallow.fields.Field[Any]):
    """The values a setting may have.

    `expected` completes the sentence "expected …". If `quoted`, an error shows the wrong value; it
    does not if the value may contain a key or a password. If `secret`, ``repr()`` hides the value.
    """

    quoted = True
    secret = False

    def __init__(self, expected: str, *, nullable: bool = False) -> None:
        self.expected = f"{expected}, or null" if nullable else expected
        super().__init__(allow_none=nullable)

    def make_error(self, key: str, **kwargs: Any) -> ValidationError:
        """Word "null" like every other wrong value; marshmallow has no other error for us."""
        return ValidationError(f"expected {self.expected}, got {key}")

    def _checked(self, value: Any) -> Any:
        """Return `value` as it is used; raise ValueError or TypeError if it is not valid."""
        raise NotImplementedError

    def from_text(self, text: str) -> object:
        """Return the unchecked value of `text` from a variable, a flag or a file."""
        return None if self.allow_none and text.strip() in ("", "null") else text

    def kept(self, was: Any, new: Any) -> Any:
        """Return the value in force after a reload from `was` to `new` of a fixed setting."""
        return was

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return self._checked(without_newline(value))
        except (ValueError, TypeError):
            given = _shown(value) if self.quoted else f"{type_name(value)} that is not shown"
            raise ValidationError(f"expected {self.expected}, got {given}") from None


class Integer(Field):
    """A whole number; neither ``true`` nor ``"5"`` nor ``5.0`` is one."""

    def __init__(self, low: int, high: int, unit: str = "", *, nullable: bool = False) -> None:
        self.low, self.high = low, high
        name = f"a whole number of {unit}" if unit else "a whole number"
        super().__init__(f"{name} from {low} to {high}", nullable=nullable)

    def _checked(self, value: Any) -> int:
        if type(value) is not int or not self.low <= value <= self.high:
            raise ValueError
        return value

    def from_text(self, text: str) -> object:
        """Read a plain scalar of YAML."""
        return _scalar(text)


class Switch(Field):
    """Whether something is done; neither ``1`` nor ``"yes"`` says so."""

    def __init__(self) -> None:
        super().__init__("true or false")

    def _checked(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError
        return value

    def from_text(self, text: str) -> object:
        """Read a plain scalar of YAML."""
        return _scalar(text)


class Number(Field):
    """A number, with decimals or without."""

    def __init__(self, low: float, high: float, unit: str = "seconds") -> None:
        self.low, self.high = low, high
        super().__init__(f"a number of {unit} from {low:.10g} to {high:.10g}")

    def _checked(self, value: Any) -> float:
        # NaN is in no range.
        if type(value) not in (int, float) or not self.low <= value <= self.high:
            raise ValueError
        return float(value)

    def from_text(self, text: str) -> object:
        """Read a plain scalar of YAML."""
        return _scalar(text)


class Line(Field):
    """One line of printable text."""

    def _checked(self, value: Any) -> str:
        if not isinstance(value, str) or not value.isprintable():
            raise TypeError
        return self._parsed(value)

    def _parsed(self, text: str) -> str:
        """Return `text` as it is used; raise ValueError if it is not valid."""
        raise NotImplementedError


class Text(Line):
    """A line that `pattern` matches as a whole."""

    def __init__(
        self, expected: str, pattern: str = r".{1,256}", *, nullable: bool = False
    ) -> None:
        self.pattern = re.compile(pattern)
        super().__init__(expected, nullable=nullable)

    def _parsed(self, text: str) -> str:
        if self.pattern.fullmatch(text) is None:
            raise ValueError
        return text


class SecretText(Field):
    """Text that is never shown, up to 64 KiB; a PEM key has several lines."""

    quoted = False
    secret = True

    def _checked(self, value: Any) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= 65536:
            raise ValueError
        return value


class WebhookSecret(SecretText):
    """A key as Standard Webhooks has it."""

    prefix = "whsec_"

    def __init__(self, *, nullable: bool = False) -> None:
        super().__init__(
            "a secret as Standard Webhooks has it, of 24 to 64 bytes", nullable=nullable
        )

    def _checked(self, value: Any) -> str:
        text = without_newline(value)
        if not isinstance(text, str):
            raise TypeError
        key = base64.b64decode(text.removeprefix(self.prefix), validate=True)
        if not text.startswith(self.prefix) or not 24 <= len(key) <= 64:
            raise ValueError
        return text


class Path(Text):
    """The path of a file or a directory; not quoted, because it may be a key by mistake."""

    quoted = False

    def __init__(self, expected: str, *, nullable: bool = False) -> None:
        super().__init__(expected, r".{1,4096}", nullable=nullable)


class Choice(Line):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words
        super().__init__(f"one of {', '.join(words)}")

    def _parsed(self, text: str) -> str:
        if text not in self.words:
            raise ValueError
        return text


class HttpURL(Line):
    """The address of an HTTP server; not quoted, because it may contain a password."""

    quoted = False

    def __init__(self, *, nullable: bool = False) -> None:
        super().__init__(
            "an http:// or https:// address without user name and password", nullable=nullable
        )

    def _parsed(self, text: str) -> str:
        parts = urlsplit(text)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.port == 0  # asking for it raises ValueError if it is none
            or "@" in parts.netloc
            or parts.fragment
            or re.search(r"[\s\\]", text)
            or not parts.hostname.encode("idna")  # raises a ValueError for what is no name
        ):
            raise ValueError
        return text


class RedisURL(Line):
    """The address of a Redis, see `redis_url`; it may contain a password."""

    quoted = False
    secret = True

    def __init__(self) -> None:
        super().__init__(redis_url.EXPECTED)

    def _parsed(self, text: str) -> str:
        try:
            redis_url.parse(text)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return text

    def kept(self, was: Any, new: Any) -> Any:
        """The same place may be entered in another way: another password, other certificates."""
        return new if redis_url.parse(new).place == redis_url.parse(was).place else was


class Origin(Line):
    """A web origin as a browser writes it (RFC 6454 section 6.2).

    Apps and browser extensions have schemes of their own: ``capacitor://localhost``.
    """

    def __init__(self) -> None:
        super().__init__("an origin such as https://app.example.com, without a path")

    def _parsed(self, text: str) -> str:
        text = text.lower()
        parts = urlsplit(text)
        # A browser omits the default port, so an origin that has it would never match.
        default_port = {"http": 80, "https": 443}.get(parts.scheme)
        if (
            not re.fullmatch(r"[a-z][a-z0-9+.-]*://[a-z0-9._\-\[\]:]+", text)
            or not parts.hostname
            or (parts.port is not None and parts.port in (0, default_port))
        ):
            raise ValueError
        return text


class Network(Line):
    """An IP network in CIDR notation, or one address."""

    def __init__(self) -> None:
        super().__init__("an IP network such as 10.0.0.0/8 or 2001:db8::/32")

    def _parsed(self, text: str) -> str:
        return str(ipaddress.ip_network(text))


class ListOf(Field):
    """A list of at most 1,000 values of one field."""

    def __init__(self, item: Field) -> None:
        self.item = item
        self.quoted, self.secret = item.quoted, item.secret
        super().__init__(f"a list, each item {item.expected}")

    def _checked(self, value: Any) -> Sequence[object]:
        if not isinstance(value, (list, tuple)) or len(value) > 1000:
            raise TypeError
        return value

    def from_text(self, text: str) -> object:
        """Read a YAML list in brackets, or items between commas or newlines."""
        if text.lstrip().startswith("["):
            return yaml12.load(text, "list")
        return [part.strip() for part in re.split(r"[,\n]", text) if part.strip()]

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        items: list[object] = []
        problems: dict[str | int, list[Any]] = {}
        for index, given in enumerate(super()._deserialize(value, attr, data, **kwargs)):
            try:
                items.append(self.item.deserialize(given))
            except ValidationError as error:
                problems[index] = error.messages  # type: ignore[assignment]
        if problems:
            raise ValidationError(cast("dict[str, Any]", problems))
        return tuple(items)


def without_newline(value: Any) -> Any:
    """Return a text without the newline (or CRLF) with which `echo` and editors end a file.

    Wherever a text comes from: a file, a credential, a variable, a block of YAML.
    """
    return re.sub(r"\r?\n\Z", "", value) if isinstance(value, str) else value


def type_name(value: object) -> str:
    """Return YAML's name for the type of `value`."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list"}
    return names.get(type(value), "a mapping" if isinstance(value, Mapping) else "a value")


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else _SHOWN.repr(value)


def _scalar(text: str) -> object:
    try:
        return yaml12.scalar(text.strip())
    except ValueError:
        return text
