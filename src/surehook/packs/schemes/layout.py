"""The scheme engine: senders differ mostly in where the signature stands and what is signed.

A ``Layout`` says that, and ``SignatureScheme`` does the rest, the same for all: raw bytes, constant time, every live secret,
at most ``MAX_CANDIDATES`` signatures, strict timestamps. Encoded forms are compared, so that there is one spelling of a
signature only: no base64 with foreign characters or altered trailing bits, and no upper-case hex but from senders whose own
library takes it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from surehook.errors import ConfigurationError, did_you_mean
from surehook.packs.address import Address
from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.packs.schemes.keys import Key
from surehook.packs.schemes.moments import SECONDS, Unit

#: A request that offers more signatures than this is not an honest one: each costs a comparison.
MAX_CANDIDATES = 10
#: Seconds by which a signed time may differ, both ways (Standard Webhooks; OWASP).
TOLERANCE = 300

#: Visible ASCII without the full stop: with one, ``id.timestamp.body`` could be cut in two ways.
_SIGNED_ID = re.compile(r"[!-\-/-~]{1,255}")
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_PLACEHOLDERS = ("body", "timestamp", "id", "url", "method")


class Layout(msgspec.Struct, frozen=True):
    """Where a sender puts its signature and what it signs. Header names are lower case."""

    header: str
    #: What is signed: text with ``{body}`` and, where the sender signs them, ``{timestamp}``, ``{id}``, ``{url}`` and
    #: ``{method}``.
    signed: str = "{body}"
    #: What stands between several signatures in the header; empty where there is never more than one.
    separator: str = ""
    timestamp_header: str | None = None
    #: The prefix of the time where it is an item of the signature header itself, e.g. ``t=``.
    timestamp_item: str | None = None
    #: How the time is written.
    unit: Unit = SECONDS
    id_header: str | None = None


class SignatureScheme:
    """Verifies and signs as a layout says; ``tolerance`` in seconds, ``address`` for what signs the URL.

    Raises ConfigurationError when the layout cannot be verified safely.
    """

    def __init__(
        self, layout: Layout, keys: Sequence[Key], tolerance: int = TOLERANCE, address: Address | None = None
    ) -> None:
        self._layout = layout
        self._keys = keys
        self._tolerance = tolerance * 1000
        self._address = address
        # literal, name, literal, name, ... literal
        template = _PLACEHOLDER.split(layout.signed)
        _check_template(layout, template[1::2])
        _check_address(address, template[1::2])
        #: The literals as bytes, the names of what is put between them as text.
        self._template = [part if odd % 2 else part.encode() for odd, part in enumerate(template) if part]

    def verify(self, request: Request) -> str:
        items = self._items(request)
        parts = self._parts(request, self._timestamp(request, items), self._id(request))
        for key in self._keys:
            if key.matches(parts, self._candidates(key.prefix, items)):
                return key.reference
        raise BadSignature(f"no live secret made a signature in {self._layout.header}", parts)

    def sign(self, draft: Draft) -> Delivery:
        layout, key, stamp = self._layout, self._keys[0], self._layout.unit.write(draft.now)
        signature = key.prefix + key.sign(self._parts(draft, stamp, draft.external_id)).decode()
        if layout.timestamp_item:
            signature = f"{layout.timestamp_item}{stamp}{layout.separator}{signature}"
        headers = {layout.header: signature}
        if layout.timestamp_header:
            headers[layout.timestamp_header] = stamp
        if layout.id_header:
            headers[layout.id_header] = draft.external_id
        return Delivery(headers, draft.body, draft.query, draft.method)

    def _items(self, request: Request) -> list[str]:
        value, separator = request.only(self._layout.header), self._layout.separator
        return [item.strip(" ") for item in value.split(separator)] if separator else [value]

    def _candidates(self, prefix: str, items: Sequence[str]) -> list[bytes]:
        found = [
            item[len(prefix) :].encode("latin-1", "replace") for item in items if item.startswith(prefix)
        ]
        if len(found) > MAX_CANDIDATES:
            raise BadSignature(f"more than {MAX_CANDIDATES} signatures in {self._layout.header}")
        return found

    def _timestamp(self, request: Request, items: Sequence[str]) -> str:
        if self._layout.timestamp_item:
            text = self._timestamp_item(self._layout.timestamp_item, items)
        elif self._layout.timestamp_header:
            text = request.only(self._layout.timestamp_header)
        else:
            return ""
        check_time(self._layout.unit.read(text), request, self._tolerance)
        return text

    def _timestamp_item(self, prefix: str, items: Sequence[str]) -> str:
        found = [item[len(prefix) :] for item in items if item.startswith(prefix)]
        if len(found) != 1:
            raise BadSignature(f"{self._layout.header} must hold {prefix} exactly once")
        return found[0]

    def _id(self, request: Request) -> str:
        if self._layout.id_header is None:
            return ""
        text = request.only(self._layout.id_header)
        if not _SIGNED_ID.fullmatch(text):
            raise BadSignature(f"{self._layout.id_header} is no id: visible ASCII without a full stop")
        return text

    def _parts(self, about: Request | Draft, timestamp: str, external_id: str) -> list[bytes]:
        values = {"body": about.body, "timestamp": timestamp.encode(), "id": external_id.encode()}
        if self._address is not None:
            values |= {
                "url": self._address.of(about).encode("latin-1", "replace"),
                "method": about.method.encode(),
            }
        return [values[part] if isinstance(part, str) else part for part in self._template]


def check_time(sent: int | None, request: Request, tolerance: int) -> None:
    """Raise BadSignature unless a signed time (None: it could not be read) is within a tolerance, both in milliseconds."""
    if sent is None:
        raise BadSignature("the timestamp is not written as it should be")
    if abs(request.now - sent) > tolerance:
        raise BadSignature(f"the timestamp is more than {tolerance // 1000} s away from now")


def _check_template(layout: Layout, names: Sequence[str]) -> None:
    for name in names:
        if name not in _PLACEHOLDERS:
            raise ConfigurationError(f"signed holds {{{name}}}. {did_you_mean(name, _PLACEHOLDERS)}")
    if names.count("body") != 1:
        raise ConfigurationError("signed must hold {body} exactly once: else anyone can change the body")
    timed = layout.timestamp_header is not None or layout.timestamp_item is not None
    if timed != ("timestamp" in names):
        raise ConfigurationError(
            "timestamp_header and {timestamp} in signed belong together: a time that is not signed protects nothing"
        )
    if "id" in names and layout.id_header is None:
        raise ConfigurationError("signed holds {id}: say which header carries it with id = 'header:NAME'")


def _check_address(address: Address | None, names: Sequence[str]) -> None:
    if address is None and {"url", "method"}.intersection(names):
        raise ConfigurationError(
            "the address or method is signed: say where the sender posts to with server.public_url or url"
        )
