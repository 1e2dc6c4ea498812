"""Parameters as Surehook writes them (``:name``, ``?``) into PostgreSQL's own (``$1``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from surehook.errors import TransactionError
from surehook.storage import Parameters

# What may hold a colon or a question mark that is none of ours. A dollar quote ends at its own tag and does not begin inside
# a name; a string with an E before it has escapes.
_QUOTES: Final = re.compile(
    r"""
      (?P<text> (?<![\w$])[eE]'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*'
              | (?<![\w$])(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag)  )
    | (?P<name> "(?:[^"]|"")*" )
    | (?P<comment> --[^\n]* | /\*  )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_ENDS: Final = re.compile(r"/\*|\*/")
_PARAMETERS: Final = re.compile(r"::|:=|:(?P<name>[A-Za-z_]\w*)|(?P<position>\?)")


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

    text = "".join(
        _PARAMETERS.sub(replace, piece) if kind == "code" else piece for kind, piece in pieces(sql)
    )
    return Bound(text, tuple(names), positions)


def pieces(sql: str) -> Iterator[tuple[str, str]]:
    """A statement cut into code, quoted texts, quoted names and comments, each with its kind."""
    begin = 0
    while found := _QUOTES.search(sql, begin):
        kind = found.lastgroup if found.lastgroup != "tag" else "text"
        end = _end_of_comment(sql, found.end()) if found[0] == "/*" else found.end()
        yield "code", sql[begin : found.start()]
        yield kind or "text", sql[found.start() : end]
        begin = end
    yield "code", sql[begin:]


def _end_of_comment(sql: str, begin: int) -> int:
    """Where the comment ends that was opened just before; in PostgreSQL one can hold others."""
    depth = 1
    for found in _COMMENT_ENDS.finditer(sql, begin):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return found.end()
    return len(sql)
