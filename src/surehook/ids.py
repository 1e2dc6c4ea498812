"""Identifiers: UUIDv7 (RFC 9562) kept as 16 bytes, shown to people as TypeIDs such as ``evt_01k...``.

A TypeID is a prefix and the 128 bits in Crockford's base32 (https://github.com/jetify-com/typeid, spec 0.3), so it sorts
by time like the bytes do.
"""

from __future__ import annotations

from typing import NewType

from surehook.entropy import random_bytes

EventId = NewType("EventId", bytes)
MessageId = NewType("MessageId", bytes)
PayloadId = NewType("PayloadId", bytes)
RejectionId = NewType("RejectionId", bytes)

EVENT_PREFIX = "evt"
MESSAGE_PREFIX = "msg"
REJECTION_PREFIX = "rej"

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_LENGTH = 26  # 130 bits: the first character carries only 3 of them
#: Two characters at once: an id is written on the hot path.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_PAIR_SHIFTS = tuple(range(120, -1, -10))


def uuid7(now: int) -> bytes:
    """A new UUIDv7 for the moment ``now`` (milliseconds): 48 bits of time, 74 random ones."""
    random = int.from_bytes(random_bytes(10), "big")
    bits = (now & 0xFFFFFFFFFFFF) << 80 | random
    bits = bits & ~(0xF << 76) | 0x7 << 76  # version 7
    bits = bits & ~(0x3 << 62) | 0x2 << 62  # variant of RFC 9562
    return bits.to_bytes(16, "big")


def typeid(prefix: str, identifier: bytes) -> str:
    """The text form of an id, e.g. ``typeid("evt", id)``."""
    bits = int.from_bytes(identifier, "big")
    return f"{prefix}_" + "".join([_PAIRS[bits >> shift & 1023] for shift in _PAIR_SHIFTS])


def parse_typeid(prefix: str, text: str) -> bytes:
    """The 16 bytes behind a text form.

    Raises ValueError when the prefix differs or the rest is no base32 of 128 bits.
    """
    head, _, tail = text.strip().rpartition("_")
    if head != prefix or len(tail) != _LENGTH or tail[0] not in "01234567":
        raise ValueError(f"{text!r} is not an id of the form {prefix}_ and {_LENGTH} characters")
    bits = 0
    for character in tail:
        if character not in _VALUES:
            raise ValueError(f"{text!r} holds {character!r}, which no id does")
        bits = bits << 5 | _VALUES[character]
    return bits.to_bytes(16, "big")
