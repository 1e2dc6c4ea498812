"""Durations and sizes as people write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

DURATION: Final = 'a duration such as "200ms", "10s", "5m", "1h" or "30d"'
SIZE: Final = 'a size such as "1MiB", "64KiB", "500KB" or a number of bytes'

_DURATIONS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZES: Final = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?) ?(ms|s|m|h|d)")
_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?) ?(B|[KMG]i?B)")


def milliseconds(text: str) -> int:
    """The milliseconds of "200ms", "10s", "5m", "1h" or "30d". Raises ValueError, which says what a duration is."""
    return _parse(_DURATION, _DURATIONS, text, DURATION)


def size(text: str) -> int:
    """The bytes of "1MiB", "64KiB", "500KB" or "1024". Raises ValueError."""
    return int(text) if text.isascii() and text.isdigit() else _parse(_SIZE, _SIZES, text, SIZE)


def duration_text(value: int) -> str:
    """The shortest whole form of so many milliseconds: 60000 is "1m"."""
    unit = next(unit for unit, factor in reversed(_DURATIONS.items()) if value % factor == 0)
    return f"{value // _DURATIONS[unit]}{unit}"


def size_text(value: int) -> str:
    """The shortest whole form of so many bytes, in powers of 1024: 1048576 is "1MiB"."""
    unit = next((unit for unit in ("GiB", "MiB", "KiB") if value and value % _SIZES[unit] == 0), "B")
    return f"{value // _SIZES[unit]}{unit}"


def _parse(form: re.Pattern[str], factors: Mapping[str, int], text: str, wanted: str) -> int:
    found = form.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"expected {wanted}, found {text!r}")
    whole, _, fraction = found[1].partition(".")
    scale: int = 10 ** len(fraction)
    value, rest = divmod(int(whole + fraction) * factors[found[2]], scale)
    if rest:
        raise ValueError(f"expected {wanted}, found {text!r}")  # finer than a millisecond or a byte
    return value
