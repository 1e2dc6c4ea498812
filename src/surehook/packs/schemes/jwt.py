"""JSON Web Tokens (RFC 7519) in their compact form: read strictly, so that what is verified has one meaning only."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec

from surehook.clock import Millis
from surehook.packs.reading import FAULTS
from surehook.packs.request import BadSignature
from surehook.packs.schemes.keys import Key

#: Characters of a token; those of known senders stay below 4 KB.
LONGEST_TOKEN: Final = 16 * 1024
#: Milliseconds by which a sender's clock may be wrong.
LEEWAY: Final = 60_000

#: Seconds; a time beyond it is none, nor is NaN or infinity, which no order holds.
_LAST: Final = 10**12

_PART = re.compile(r"[A-Za-z0-9_-]+")

#: Header, claims, what is signed and the signature.
Compact = tuple[Mapping[str, Any], Mapping[str, Any], bytes, bytes]


def parse_compact(token: str, algorithm: str) -> Compact:
    """Take a token apart that must name this algorithm; nothing in it is verified yet.

    Raises BadSignature for everything that honest senders do not send: another algorithm than the expected one, critical
    extensions, base64url in more than one spelling, JSON with repeated keys, more than ``LONGEST_TOKEN`` characters.
    """
    if len(token) > LONGEST_TOKEN:
        raise BadSignature(f"the token is longer than {LONGEST_TOKEN} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise BadSignature("the token is no JWT: header, claims and signature")
    header, claims = _object(parts[0], "header"), _object(parts[1], "claims")
    if header.get("alg") != algorithm:
        raise BadSignature(f"the token is not signed by {algorithm}")
    if "crit" in header:
        raise BadSignature("the token has critical extensions, and none are known")
    return header, claims, f"{parts[0]}.{parts[1]}".encode(), _bytes(parts[2], "signature")


def check_times(claims: Mapping[str, Any], now: Millis) -> None:
    """Raise BadSignature unless a token is valid now: ``exp`` is required, ``nbf`` and ``iat`` must not lie ahead."""
    if _moment(claims, "exp", required=True) <= now - LEEWAY:
        raise BadSignature("the token has expired")
    if max(_moment(claims, "nbf"), _moment(claims, "iat")) > now + LEEWAY:
        raise BadSignature("the token is not valid yet")


def check_audience(claims: Mapping[str, Any], wanted: Collection[str]) -> None:
    """Raise BadSignature unless the token is meant for one of these audiences."""
    given = claims.get("aud")
    audiences = given if isinstance(given, list) else [given]
    if not any(isinstance(audience, str) and audience in wanted for audience in audiences):
        raise BadSignature("the token is meant for another audience (aud)")


def verify_compact(token: str, algorithm: str, keys: Sequence[Key]) -> tuple[Mapping[str, Any], str]:
    """The claims of a token that one of the keys signed, and that key's reference. Raises BadSignature.

    The keys compare signatures in standard base64.
    """
    _, claims, signed, signature = parse_compact(token, algorithm)
    candidate = base64.b64encode(signature)
    for key in keys:
        if key.matches([signed], [candidate]):
            return claims, key.reference
    raise BadSignature("no live secret signed the token", [signed])


def write_compact(claims: Mapping[str, Any], algorithm: str, key: Key) -> str:
    """A token that ``verify_compact`` accepts."""
    header = {"alg": algorithm, "typ": "JWT"}
    signed = b".".join([_encoded(msgspec.json.encode(part)) for part in (header, claims)])
    return f"{signed.decode()}.{_encoded(base64.b64decode(key.sign([signed]))).decode()}"


def _encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def _bytes(part: str, name: str) -> bytes:
    if _PART.fullmatch(part) and len(part) % 4 != 1:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        if _encoded(data) == part.encode():
            return data
    raise BadSignature(f"the token's {name} is not base64url as it should be")


def _object(part: str, name: str) -> Mapping[str, Any]:
    try:
        value = json.loads(_bytes(part, name).decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except FAULTS:
        value = None
    if not isinstance(value, dict):
        raise BadSignature(f"the token's {name} is no JSON object as it should be")
    return value


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is repeated")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _moment(claims: Mapping[str, Any], name: str, *, required: bool = False) -> float:
    """A time in milliseconds; 0 for one that is not there."""
    value = claims.get(name, None if required else 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LAST <= value <= _LAST:
        raise BadSignature(f"the token's {name} is no time")
    return value * 1000
