"""The table of settings, and the schema that checks them.

A section is a frozen dataclass whose members are made by `setting`. From that one table come the
marshmallow schemas, the flags and environment variables, and the tests that compare it with the
documentation. This module knows no particular setting.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, TypeVar, cast

from marshmallow import RAISE, Schema, ValidationError, post_load
from marshmallow.fields import Nested

from aionotify.config.fields import Field

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: a setting."""

    path: str
    """Its dotted name, ``auth.main_host.timeout``."""
    field: Field
    default: Any
    does: str
    fixed: bool
    """Whether a change needs a restart."""

    def of(self, config: object) -> Any:
        """Return its value in `config`."""
        return attrgetter(self.path)(config)

    @property
    def default_text(self) -> str:
        """The default as in config.yaml."""
        match self.default:
            case None:
                return "null"
            case ():
                return "[]"
            case bool():
                return str(self.default).lower()
            case float():
                return f"{self.default:.10g}"
        return str(self.default)


def setting(field: Field, default: T, does: str, *, fixed: bool = False) -> T:
    """Make the dataclass member of a setting; `does` says in one line what it does.

    A change of a `fixed` setting needs a restart.
    """
    metadata = {"field": field, "does": does, "fixed": fixed}
    return dataclasses.field(default=default, repr=not field.secret, metadata=metadata)


def settings_of(section: type, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting in `section` and the sections within it, in their order."""
    for member in fields(section):
        path = prefix + member.name
        if isinstance(member.type, type) and is_dataclass(member.type):
            yield from settings_of(member.type, f"{path}.")
        else:
            about = member.metadata
            yield Setting(path, about["field"], member.default, about["does"], about["fixed"])


def with_fixed_of(section: T, new: T) -> T:
    """Return `new` with the fixed settings of `section`, see `Field.kept`."""
    kept: dict[str, object] = {}
    for member in fields(cast("Any", section)):
        was, now = getattr(section, member.name), getattr(new, member.name)
        if is_dataclass(was):
            kept[member.name] = with_fixed_of(was, now)
        elif member.metadata["fixed"]:
            kept[member.name] = member.metadata["field"].kept(was, now)
    return cast("T", replace(cast("Any", new), **kept))


class SectionSchema(Schema):
    """Checks a section and makes its dataclass."""

    section: type
    error_messages = {"unknown": "unknown", "type": "expected a mapping"}  # noqa: RUF012

    class Meta:  # noqa: D106
        unknown = RAISE  # nested schemas do not inherit it

    @post_load
    def make(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the dataclass, unless its settings contradict each other."""
        made = self.section(**data)
        problems = dict(made.problems()) if hasattr(made, "problems") else {}
        if problems:
            raise ValidationError({name: [text] for name, text in problems.items()})
        return made


class _Section(Nested):
    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        # ``auth:`` with nothing (left) below it
        return super().deserialize({} if value is None else value, *args, **kwargs)


def schema_of(section: type) -> SectionSchema:
    """Return the schema that checks `section`; make it once, because that is slow."""
    members: dict[str, object] = {"section": section}
    for member in fields(section):
        if isinstance(member.type, type) and is_dataclass(member.type):
            members[member.name] = _Section(schema_of(member.type))
        else:
            members[member.name] = member.metadata["field"]
    schema = type(f"{section.__name__}Schema", (SectionSchema,), members)
    return cast("SectionSchema", schema())


def flatten(errors: Any, paths: Sequence[str], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each problem in marshmallow's `errors` as a dotted path and a text.

    `paths` are all settings, to suggest one for an unknown key.
    """
    if isinstance(errors, Mapping):
        for name, below in errors.items():
            whole = name == "_schema"
            yield from flatten(below, paths, path if whole else f"{path}.{name}".lstrip("."))
    elif errors == ["unknown"]:
        yield path, "unknown" + suggestion(path, paths)
    else:
        yield path, "; ".join(errors)


def suggestion(path: str, paths: Sequence[str]) -> str:
    """Return the end of a sentence that suggests a setting for the unknown `path`."""
    section, _, name = path.rpartition(".")
    start = f"{section}." if section else ""
    here = {p.removeprefix(start).partition(".")[0]: None for p in paths if p.startswith(start)}
    elsewhere = [p for p in paths if p.rpartition(".")[2] == name]
    close = get_close_matches(name, here, 1) or elsewhere or get_close_matches(path, paths, 1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known here: {', '.join(here)}" if here else ""
