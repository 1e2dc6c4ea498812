"""What the doctor says of one thing it has looked at."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "failed"]


class Finding(msgspec.Struct, frozen=True):
    """One line: what was looked at, whether it is well, and what is the case; if it is not well, what to do."""

    check: str
    level: Level
    text: str
