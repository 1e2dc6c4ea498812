"""Answers to handshakes that repeat what they were sent: never as something that a browser would show as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from surehook.packs.verdicts import Challenge

_NOSNIFF: Final = (("X-Content-Type-Options", "nosniff"),)


def text_answer(text: str, kind: str) -> Challenge:
    """The text itself, as plain text."""
    return Challenge(200, text.encode("utf-8", "replace"), headers=_NOSNIFF, kind=kind)


def json_answer(values: Mapping[str, str], kind: str) -> Challenge:
    """A JSON object of texts."""
    texts = {name: value.encode("utf-8", "replace").decode() for name, value in values.items()}
    return Challenge(200, msgspec.json.encode(texts), "application/json", _NOSNIFF, kind)
