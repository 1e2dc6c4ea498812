"""Where things stand in a request, said in a few words, and read in one pass.

A place is ``header:NAME`` or ``body:/json/pointer`` (RFC 6901). What may stand in several places is a tuple of them, the
first that is there counts; what is put together from several is a ``Joined``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from surehook.errors import ConfigurationError
from surehook.pointers import parse_pointer

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: RFC 6901: a slash before each reference token, ``~`` only as ``~0`` and ``~1``.
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)+")


class Joined(msgspec.Struct, frozen=True):
    """What stands at several places, put together; what is not there is left out."""

    places: tuple[str, ...]
    by: str = "."


Source = str | tuple[str, ...] | Joined


class Place(msgspec.Struct, frozen=True):
    """In a header or at a path of the JSON body, whichever is set."""

    header: str | None = None
    path: tuple[str, ...] = ()


def header_name(setting: str, name: str) -> str:
    """The lower-case form of a header's name. Raises ConfigurationError when it is none."""
    if not _HEADER_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{setting} = {name!r} names no header: letters, digits and hyphens are usual"
        )
    return name.lower()


def parse_place(setting: str, text: str) -> Place:
    """Read ``header:NAME`` or ``body:/json/pointer``. Raises ConfigurationError."""
    kind, _, rest = text.partition(":")
    if kind == "header":
        return Place(header=header_name(setting, rest))
    if kind == "body" and _POINTER.fullmatch(rest):
        return Place(path=parse_pointer(rest))
    raise ConfigurationError(
        f"{setting} = {text!r} is no place in a request: write 'header:NAME' or 'body:/json/pointer'"
    )


class Reads(msgspec.Struct, frozen=True):
    """Where a sender puts what Surehook wants to know."""

    id: Source = ()
    type: Source = ()
    subject: Source = ()
    #: Unix seconds, unix milliseconds or ISO 8601.
    occurred_at: Source = ()

    def write_headers(self, external_id: str, type: str) -> dict[str, str]:
        """The headers in which id and type stand, where they stand in headers."""
        written = [*_values(self.id, external_id), *_values(self.type, type)]
        return {place.header: value for place, value in written if place.header is not None}

    def write_body(self, body: Any, external_id: str | None, type: str, *, below: str = "") -> Any:
        """A copy of a body with this id and type in their places, where those are in the body.

        ``below``: the pointer of the part of the body that the places are in.
        """
        written = [*_values(self.id, external_id), *_values(self.type, type)]
        for place, value in written:
            if place.header is None and value is not None:
                body = _replaced(body, (*parse_pointer(below), *place.path), value)
        return body


#: What a pack can find, in the order in which it is looked for.
FIELDS: Final = ("id", "type", "subject", "occurred_at")


def places_of(source: Source) -> Sequence[Place]:
    """The places of a source, in order."""
    texts = source.places if isinstance(source, Joined) else (source,) if isinstance(source, str) else source
    return [parse_place("place", text) for text in texts]


def _values(source: Source, value: str | None) -> Iterator[tuple[Place, Any]]:
    """What to write where: of several places the first, of what is joined to each its piece."""
    places = places_of(source)
    if isinstance(source, Joined) and value is not None:
        yield from zip(places, value.split(source.by, len(places) - 1), strict=False)
    elif places:
        yield places[0], value


def _replaced(node: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of the JSON with something else at the path; numbers stay numbers where the value is one."""
    if not path:
        return int(value) if isinstance(node, int) and value.isdecimal() else value
    if isinstance(node, Sequence) and not isinstance(node, str):
        index = int(path[0])
        return [_replaced(item, path[1:], value) if at == index else item for at, item in enumerate(node)]
    members: Mapping[str, Any] = node if isinstance(node, Mapping) else {}
    return {**members, path[0]: _replaced(members.get(path[0]), path[1:], value)}
