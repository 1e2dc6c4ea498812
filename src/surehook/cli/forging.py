"""Test deliveries that are no two alike, and those that a server must refuse."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
from msgspec.structs import replace

from surehook.errors import InvalidRequest
from surehook.packs import Delivery, Draft, Provider
from surehook.pointers import parse_pointer

#: The field that tells samples apart where nothing else does.
MARK = "surehook_test"

#: Whether a delivery would be refused by the configured provider.
Refuses = Callable[[Delivery], bool]


def distinct(body: bytes, mark: str, items: str | None) -> bytes:
    """A sample that differs from every other: without an id of its own it would be a duplicate, with another one suspect.

    ``items``: where in the body the list of events stands, if it holds several; each of them gets the mark.
    """
    if mark.encode() in body:
        return body
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _distinct_text(body, mark)
    marked = _marked(document, mark)
    if items:
        marked = _at(marked, parse_pointer(items), lambda found: _marked(found, mark))
    return msgspec.json.encode(marked)


def _marked(value: Any, mark: str) -> Any:
    """An object gets the mark; of a list each of its objects, by number."""
    if isinstance(value, dict):
        return {**value, MARK: mark}
    if isinstance(value, list):
        return [_marked(item, f"{mark}-{number}") for number, item in enumerate(value)]
    return value


def _at(value: Any, path: Sequence[str], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    if not isinstance(value, dict) or path[0] not in value:
        return value
    return {**value, path[0]: _at(value[path[0]], path[1:], change)}


def _distinct_text(body: bytes, mark: str) -> bytes:
    """XML gets a comment, a form a field; of anything else nobody knows where it could be put."""
    if body.lstrip().startswith(b"<"):
        return body + f"<!-- {mark} -->".encode()
    if re.fullmatch(rb"[!-~]+", body) and parse_qsl(body.decode(), strict_parsing=False):
        return body + b"&" + urlencode({MARK: mark}).encode()
    return body


def forged(sender: Provider, forger: Provider | None, draft: Draft, refuses: Refuses) -> Delivery:
    """A delivery that must be refused: signed with a wrong secret where there can be one, else spoilt after signing.

    Raises InvalidRequest when there is nothing that would be refused, or nothing to sign with.
    """
    if forger is not None:
        wrong = forger.sign(draft)
        if refuses(wrong):
            return wrong
    for spoilt in _spoilt(sender.sign(draft)):
        if refuses(spoilt):
            return spoilt
    raise InvalidRequest(f"{sender.name} verifies nothing that could be forged.")


def _spoilt(sent: Delivery) -> Iterator[Delivery]:
    """The delivery with one character changed: of each header, of the query, of the body."""
    for name, value in sent.headers.items():
        if name != "content-type":
            yield replace(sent, headers={**sent.headers, name: altered(value)})
    if sent.query:
        yield replace(sent, query=altered(sent.query))
    text = sent.body.decode("latin-1")
    # a proof may stand anywhere in the body, and cover nothing else in it
    for start in [len(text) // 2, *range(0, len(text), len(text) // 200 + 1)]:
        yield replace(sent, body=altered(text, start).encode("latin-1"))


def altered(text: str, start: int | None = None) -> str:
    """The same with another letter or digit at ``start`` or behind it, by default in its second half."""
    begin = len(text) // 2 if start is None else start
    place = next((at for at in range(begin, len(text)) if text[at].isalnum()), 0)
    return text[:place] + ("B" if text[place : place + 1] == "A" else "A") + text[place + 1 :]


def stale(sender: Provider, draft: Draft, refuses: Refuses) -> Delivery:
    """A delivery of the draft's old moment. Raises InvalidRequest where no time is signed, so that nothing is stale."""
    sent = sender.sign(draft)
    if not refuses(sent):
        raise InvalidRequest(f"{sender.name} signs no time, so nothing can be stale.")
    return sent
