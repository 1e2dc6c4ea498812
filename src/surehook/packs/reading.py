"""Reading what a pack needs from a body that anyone may have written: exact ids, no floats, no surprises.

Everything here raises one of ``FAULTS``, and nothing else, for a body that it cannot read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Raw

from surehook.clock import Millis
from surehook.packs.request import Request

T = TypeVar("T")

#: What a parser raises for hostile input. ``msgspec.DecodeError`` and ``UnicodeDecodeError`` are ValueErrors.
FAULTS = (ValueError, RecursionError)

#: Bytes of an external id that are kept as they are; the index of every database takes that many.
LONGEST_ID = 255
#: Characters of a type or subject that are kept.
LONGEST_LABEL = 255
_DIGEST_PREFIX = "sha256:"

_MAX_FORM_FIELDS = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Unix time, in seconds (also with a fraction) or, from this many on, in milliseconds.
_UNIX_TIME = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,9}))?")
_FIRST_IN_MILLIS = 100_000_000_000

NOTHING = Raw()


class _Name:
    """A key of an object that equals no other key, so that a dict keeps all of them, also the repeated ones."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


_ANY = msgspec.json.Decoder(Raw)
_TEXT = msgspec.json.Decoder(str)
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_ARRAY = msgspec.json.Decoder(list[Raw])
_MEMBERS = msgspec.json.Decoder(dict[_Name, Raw], dec_hook=lambda _type, text: _Name(text))


def utf8(body: bytes) -> bytes:
    """The body, if it is UTF-8 throughout: msgspec alone does not look inside what it skips."""
    if not body.isascii():
        body.decode()
    return body


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode JSON that is UTF-8 throughout."""
    return decoder.decode(utf8(body))


def require_json(body: bytes) -> Raw:
    """The body, if it is JSON that is UTF-8 throughout."""
    return decode(_ANY, body)


def is_object(value: Raw) -> bool:
    """Whether it is a JSON object."""
    return memoryview(value)[:1].tobytes() == b"{"


def array(value: Raw) -> list[Raw] | None:
    """The elements of a JSON array; None for anything else."""
    return _ARRAY.decode(value) if memoryview(value)[:1].tobytes() == b"[" else None


def within(decoder: msgspec.json.Decoder[T], value: Raw) -> T | None:
    """Decode a part of a document; None where it is missing or has another shape."""
    try:
        return None if value == NOTHING else decoder.decode(value)
    except msgspec.ValidationError:
        return None


def scalar(value: Raw | None) -> str | None:
    """The text of a JSON string, or of a number exactly as it was written; None for anything else and for ``""``."""
    token = bytes(value) if value is not None else b""
    if token.startswith(b'"'):
        return _TEXT.decode(token) or None
    return token.decode() if token[:1].isdigit() or token.startswith(b"-") else None


class Document:
    """A JSON body whose parts are found by path, and in which a repeated key on that path is an error.

    Parsers disagree about which of two equal keys counts, so an id behind one is ambiguous.
    """

    def __init__(self, body: bytes) -> None:
        self._root = decode(_ANY, body)
        self._members: dict[tuple[str, ...], Mapping[str, Sequence[Raw]]] = {}

    def find(self, path: tuple[str, ...]) -> Raw | None:
        """The value at a path (the reference tokens of an RFC 6901 pointer), None where there is none."""
        if not path:
            return self._root
        parent, name = path[:-1], path[-1]
        if parent not in self._members:
            self._members[parent] = _members(self.find(parent))
        values = self._members[parent].get(name, ())
        if len(values) > 1:
            raise _ambiguous(path)
        return values[0] if values else None


def _members(value: Raw | None) -> Mapping[str, Sequence[Raw]]:
    token = bytes(value) if value is not None else b""
    members: dict[str, list[Raw]] = {}
    if token.startswith(b"{"):
        for name, member in _MEMBERS.decode(token).items():
            members.setdefault(name.text, []).append(member)
    elif token.startswith(b"["):
        members = {str(index): [item] for index, item in enumerate(_ARRAY.decode(token))}
    return members


def require_single(body: bytes, key: str) -> None:
    """Raise ValueError when the object that the body holds (it must be one) has this key more than once.

    Most bodies are told by counting, without a Python call for each member: where the key's text stands once, or once more
    than in all of the object's values together, and where no key can be written in escapes.
    """
    text = f'"{key}"'.encode()
    count = body.count(text)
    if b"\\u00" not in body and (count < 2 or count - _inside(_OBJECT.decode(body), text) < 2):
        return
    if [name.text for name in _MEMBERS.decode(body)].count(key) > 1:
        raise _ambiguous((key,))


def _inside(members: Mapping[str, Raw], text: bytes) -> int:
    """How often a text stands in the values; of those under one name only in the last one."""
    return sum([bytes(value).count(text) for value in members.values()])


def _ambiguous(path: Sequence[str]) -> ValueError:
    return ValueError(f"the body holds {'/'.join(('', *path))} more than once, so it is ambiguous")


def is_json(request: Request) -> bool:
    """Whether the request says that its body is JSON."""
    media_type = _media_type(request)
    return media_type == "application/json" or media_type.endswith("+json")


def is_form(request: Request) -> bool:
    """Whether the request says that its body is a URL-encoded form."""
    return _media_type(request) == "application/x-www-form-urlencoded"


def is_xml(request: Request) -> bool:
    """Whether the request says that its body is XML."""
    media_type = _media_type(request)
    return media_type in {"text/xml", "application/xml"} or media_type.endswith("+xml")


def _media_type(request: Request) -> str:
    return (request.header("content-type") or "").partition(";")[0].strip().lower()


def form(body: bytes) -> dict[str, str]:
    """The fields of a URL-encoded form. Raises ValueError for more than 1,000 of them, bad UTF-8 or a repeated one."""
    pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FORM_FIELDS)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("the form holds a field more than once, so it is ambiguous")
    return fields


def parameter(request: Request, name: str) -> str | None:
    """A parameter of the query, None where it is missing or empty, or where the query cannot be read or is ambiguous."""
    try:
        return form(request.query.encode("latin-1", "replace")).get(name) or None
    except ValueError:
        return None


def moment(text: str | None) -> Millis | None:
    """A time as milliseconds: unix seconds, unix milliseconds or ISO 8601 (UTC where no zone is given); else None."""
    if text is None:
        return None
    unix = _UNIX_TIME.fullmatch(text)
    if unix is None:
        return _iso(text)
    whole, fraction = int(unix[1]), (unix[2] or "")[:3].ljust(3, "0")
    return Millis(whole if whole >= _FIRST_IN_MILLIS else whole * 1000 + int(fraction))


def _iso(text: str) -> Millis | None:
    try:
        read = datetime.fromisoformat(text)
        aware = read if read.tzinfo else read.replace(tzinfo=UTC)
        return Millis((aware - _EPOCH) // timedelta(milliseconds=1))
    except (ValueError, OverflowError):
        return None


def storable_id(text: str) -> str:
    """An external id as it can be stored: itself, or its digest where it is too long or not clean text.

    Two different ids never become the same one: what already looks like a digest is digested too.
    """
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= LONGEST_ID and not text.startswith(_DIGEST_PREFIX) and _is_clean(text):
        return text
    return _DIGEST_PREFIX + hashlib.sha256(data).hexdigest()


def storable_label(text: str) -> str:
    """A type or subject as it can be stored: cut to ``LONGEST_LABEL`` characters, what no database takes replaced."""
    if len(text) > LONGEST_LABEL:
        text = text[: LONGEST_LABEL - 1] + "…"
    return text if _is_clean(text) else text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _is_clean(text: str) -> bool:
    if text.isprintable():
        return True
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
