"""The scheme engine: how a request proves that it comes from the sender who knows the secret.

Most senders differ only in where the signature stands and what is signed; a ``Layout`` says that, and
``SignatureScheme`` does the rest, the same for all: raw bytes, constant time, every live secret, at most
``MAX_CANDIDATES`` signatures, strict timestamps. Encoded forms are compared, so that there is one spelling of a
signature only: no upper-case hex, no base64 with foreign characters or altered trailing bits.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from surehook.clock import Millis
from surehook.errors import ConfigurationError, InvalidRequest, did_you_mean
from surehook.mac import Hmac
from surehook.model import Headers
from surehook.secrets import Secret

#: A request that offers more signatures than this is not an honest one: each costs a comparison.
MAX_CANDIDATES = 10
#: Seconds by which a signed time may differ, both ways (Standard Webhooks; OWASP).
TOLERANCE = 300
ALGORITHMS = ("sha256", "sha1", "sha512")
ENCODINGS = ("hex", "base64")

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
#: Visible ASCII without the full stop: with one, ``id.timestamp.body`` could be cut in two ways.
_SIGNED_ID = re.compile(r"[!-\-/-~]{1,255}")
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_PLACEHOLDERS = ("body", "timestamp", "id")


class BadSignature(InvalidRequest):
    """The request does not prove where it comes from. The message is for the operator only."""


class Request(msgspec.Struct, frozen=True):
    """One received request: header names in lower case, values as latin-1 text, the body's raw bytes."""

    provider: str
    topic: str
    method: str
    headers: Headers
    body: bytes
    now: Millis
    query: str = ""

    def header(self, name: str) -> str | None:
        """The first header of this (lower-case) name, None where there is none."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def optional(self, name: str) -> str | None:
        """The header of this name, None where it is missing or empty.

        Raises BadSignature when it is repeated: which of them counts would be a guess.
        """
        values = [value for key, value in self.headers if key == name]
        if len(values) > 1:
            raise BadSignature(f"the header {name} is repeated")
        return values[0] or None if values else None

    def only(self, name: str) -> str:
        """The header of this name. Raises BadSignature when it is missing, empty or repeated."""
        value = self.optional(name)
        if value is None:
            raise BadSignature(f"the header {name} is missing or empty")
        return value


class Scheme(Protocol):
    """How a request is verified, and how one is signed the same way."""

    def verify(self, request: Request) -> str:
        """The reference of the secret that verified it. Raises BadSignature for everything else."""
        ...

    def sign(self, body: bytes, now: Millis, external_id: str) -> dict[str, str]:
        """The headers that make ``verify`` accept this body."""
        ...


class Key(Protocol):
    """One live secret, ready for use."""

    @property
    def reference(self) -> str:
        """Where the secret came from."""
        ...

    @property
    def prefix(self) -> str:
        """What stands before each of its signatures."""
        ...

    def matches(self, parts: Sequence[bytes], candidates: Sequence[bytes]) -> bool:
        """Whether one of the candidates is the signature of the joined parts."""
        ...

    def sign(self, parts: Sequence[bytes]) -> bytes:
        """The signature of the joined parts, encoded."""
        ...


class HmacKey:
    """HMAC, in the encoding and after the prefix that the sender uses."""

    def __init__(
        self,
        reference: str,
        key: bytes,
        *,
        algorithm: str = "sha256",
        encoding: str = "hex",
        prefix: str = "",
    ) -> None:
        self.reference = reference
        self.prefix = prefix
        self._base64 = encoding == "base64"
        self._hmac = Hmac(key, algorithm)

    def sign(self, parts: Sequence[bytes]) -> bytes:
        digest = self._hmac.digest(parts)
        return base64.b64encode(digest) if self._base64 else digest.hex().encode()

    def matches(self, parts: Sequence[bytes], candidates: Sequence[bytes]) -> bool:
        expected = self.sign(parts)
        return any(hmac.compare_digest(expected, candidate) for candidate in candidates)


class Ed25519Key:
    """An Ed25519 key pair, or the public half alone, which verifies but cannot sign."""

    def __init__(
        self,
        reference: str,
        public: Ed25519PublicKey,
        private: Ed25519PrivateKey | None = None,
        *,
        prefix: str,
    ) -> None:
        self.reference = reference
        self.prefix = prefix
        self._public = public
        self._private = private

    def sign(self, parts: Sequence[bytes]) -> bytes:
        if self._private is None:
            raise InvalidRequest(
                "a public key (whpk_) verifies but cannot sign: give the private key (whsk_)"
            )
        return base64.b64encode(self._private.sign(b"".join(parts)))

    def matches(self, parts: Sequence[bytes], candidates: Sequence[bytes]) -> bool:
        signed = b"".join(parts)
        return any(self._verifies(signed, candidate) for candidate in candidates)

    def _verifies(self, signed: bytes, candidate: bytes) -> bool:
        try:
            signature = base64.b64decode(candidate, validate=True)
            self._public.verify(signature, signed)
        except (binascii.Error, InvalidSignature):
            return False
        return base64.b64encode(signature) == candidate


class Layout(msgspec.Struct, frozen=True):
    """Where a sender puts its signature and what it signs. Header names are lower case."""

    header: str
    #: What is signed: text with ``{body}`` and, where the sender signs them, ``{timestamp}`` and ``{id}``.
    signed: str = "{body}"
    #: What stands between several signatures in the header; empty where there is never more than one.
    separator: str = ""
    timestamp_header: str | None = None
    #: The prefix of the time where it is an item of the signature header itself, e.g. ``t=``.
    timestamp_item: str | None = None
    id_header: str | None = None


class SignatureScheme:
    """Verifies and signs as a layout says. Raises ConfigurationError when the layout cannot be verified safely."""

    def __init__(self, layout: Layout, keys: Sequence[Key], tolerance: int = TOLERANCE) -> None:
        self._layout = layout
        self._keys = keys
        self._tolerance = tolerance * 1000
        # literal, name, literal, name, ... literal
        template = _PLACEHOLDER.split(layout.signed)
        _check_template(layout, template[1::2])
        #: The literals as bytes, the names of what is put between them as text.
        self._template = [part if odd % 2 else part.encode() for odd, part in enumerate(template) if part]

    def verify(self, request: Request) -> str:
        items = self._items(request)
        parts = self._parts(request.body, self._timestamp(request, items), self._id(request))
        for key in self._keys:
            candidates = self._candidates(key.prefix, items)
            if candidates and key.matches(parts, candidates):
                return key.reference
        raise BadSignature(f"no live secret made a signature in {self._layout.header}")

    def sign(self, body: bytes, now: Millis, external_id: str) -> dict[str, str]:
        layout, key, stamp = self._layout, self._keys[0], str(now // 1000)
        signature = key.prefix + key.sign(self._parts(body, stamp, external_id)).decode()
        if layout.timestamp_item:
            signature = f"{layout.timestamp_item}{stamp}{layout.separator}{signature}"
        headers = {layout.header: signature}
        if layout.timestamp_header:
            headers[layout.timestamp_header] = stamp
        if layout.id_header:
            headers[layout.id_header] = external_id
        return headers

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
        if not _TIMESTAMP.fullmatch(text):
            raise BadSignature("the timestamp is not a number of seconds")
        if abs(request.now - int(text) * 1000) > self._tolerance:
            raise BadSignature(f"the timestamp is more than {self._tolerance // 1000} s away from now")
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

    def _parts(self, body: bytes, timestamp: str, external_id: str) -> list[bytes]:
        values = {"body": body, "timestamp": timestamp.encode(), "id": external_id.encode()}
        return [values[part] if isinstance(part, str) else part for part in self._template]


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


class TokenScheme:
    """A shared token in a header, sent as it is. Digests are compared, so that its length does not show either."""

    def __init__(self, header: str, secrets: Sequence[Secret], prefix: str = "") -> None:
        self._header = header
        self._prefix = prefix
        self._secrets = secrets
        self._digests = [(hashlib.sha256(secret.encode()).digest(), secret.reference) for secret in secrets]

    def verify(self, request: Request) -> str:
        value = request.only(self._header)
        if not value.startswith(self._prefix):
            raise BadSignature(f"the header {self._header} does not begin as it should")
        given = hashlib.sha256(value[len(self._prefix) :].encode("latin-1", "replace")).digest()
        return _equal_to(given, self._digests, self._header)

    def sign(self, body: bytes, now: Millis, external_id: str) -> dict[str, str]:
        return {self._header: self._prefix + self._secrets[0].reveal()}


class BasicScheme:
    """HTTP Basic authentication (RFC 7617). A secret is ``user:password``; its encoded form is what is compared."""

    HEADER = "authorization"

    def __init__(self, secrets: Sequence[Secret]) -> None:
        for secret in secrets:
            if ":" not in secret.reveal():
                raise ConfigurationError(f"the secret {secret.reference} must be of the form user:password")
        self._encoded = [base64.b64encode(secret.encode()) for secret in secrets]
        self._digests = [
            (hashlib.sha256(encoded).digest(), secret.reference)
            for encoded, secret in zip(self._encoded, secrets, strict=True)
        ]

    def verify(self, request: Request) -> str:
        word, _, encoded = request.only(self.HEADER).partition(" ")
        if word.lower() != "basic":
            raise BadSignature("the header authorization is not of the Basic scheme")
        given = hashlib.sha256(encoded.encode("latin-1", "replace")).digest()
        return _equal_to(given, self._digests, self.HEADER)

    def sign(self, body: bytes, now: Millis, external_id: str) -> dict[str, str]:
        return {self.HEADER: "Basic " + self._encoded[0].decode()}


class NoScheme:
    """No verification at all: whoever reaches the port is believed."""

    def verify(self, request: Request) -> str:
        return ""

    def sign(self, body: bytes, now: Millis, external_id: str) -> dict[str, str]:
        return {}


def _equal_to(given: bytes, digests: Sequence[tuple[bytes, str]], header: str) -> str:
    for digest, reference in digests:
        if hmac.compare_digest(given, digest):
            return reference
    raise BadSignature(f"the header {header} matches no live secret")
