"""What ``aionotify check`` has found, for people and for programs."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `advice` says how to fix it if it is not ``ok``."""

    check: str
    status: Literal["ok", "warning", "failed"]
    found: str
    advice: str = ""
