"""JSON pointers (RFC 6901): where in a document something stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def parse_pointer(pointer: str) -> tuple[str, ...]:
    """The reference tokens of a pointer; none for the empty one, which is the whole document."""
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def write_pointer(path: Sequence[str | int]) -> str:
    """The pointer of reference tokens."""
    return "".join(["/" + str(token).replace("~", "~0").replace("/", "~1") for token in path])


def resolve_pointer(document: Any, pointer: str) -> Any:
    """What stands there in a parsed document. Raises ValueError when nothing does."""
    found = document
    for token in parse_pointer(pointer):
        try:
            found = found[int(token)] if isinstance(found, list) else found[token]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ValueError(f"the body holds nothing at {pointer}") from None
    return found
