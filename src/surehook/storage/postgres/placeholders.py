"""Parameters as Surehook writes them (``:name``, ``?``) into PostgreSQL's own (``$1``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from surehook.errors import TransactionError
from surehook.storage import Parameters

# What may hold a colon or a question mark that is none of ours comes first, so that it is stepped over whole. A dollar
# quote ends at its own tag; a comment in a comment is PostgreSQL's extension, and only its first level is known here.
_TOKENS: Final = re.compile(
    r"""
      (?P<skip> \b[eE]'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
              | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag)
              | --[^\n]* | /\*.*?\*/ | :: | :=  )
    | :(?P<name>[A-Za-z_]\w*)
    | (?P<position>\?)
    """,
    re.VERBOSE | re.DOTALL,
)


class Bound(msgspec.Struct, frozen=True):
    """A statement in PostgreSQL's words, and where its parameters come from."""

    sql: str
    #: The names of ``$1``, ``$2``, ...; empty for parameters by position.
    names: tuple[str, ...]
    positions: int

    def values(self, parameters: Parameters) -> Sequence[Any]:
        """The parameters in their order. Raises TransactionError when one is missing or too many are given."""
        if isinstance(parameters, Mapping):
            missing = [name for name in self.names if name not in parameters]
            if missing:
                raise TransactionError(
                    f"the statement needs parameters that were not given: {', '.join(missing)}"
                )
            return [parameters[name] for name in self.names]
        wanted = len(self.names) or self.positions
        if self.names or len(parameters) != wanted:
            kind = (
                "named parameters: give a mapping"
                if self.names
                else f"{wanted} parameters: write a '?' for each"
            )
            raise TransactionError(f"the statement has {kind}; {len(parameters)} were given by position")
        return parameters


@lru_cache(maxsize=2_000)
def bind(sql: str, by_position: bool) -> Bound:
    """``sql`` with ``$n`` for each parameter. Question marks are PostgreSQL's operators unless ``by_position``."""
    names: dict[str, int] = {}
    positions = 0

    def replace(found: re.Match[str]) -> str:
        nonlocal positions
        if found["name"] is not None:
            return f"${names.setdefault(found['name'], len(names) + 1)}"
        if found["position"] is not None and by_position:
            positions += 1
            return f"${positions}"
        return found[0]

    text = _TOKENS.sub(replace, sql)
    return Bound(text, tuple(names), positions)
