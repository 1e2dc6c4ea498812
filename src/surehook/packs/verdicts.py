"""What is made of a request: the verdict on it, and what was read in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from surehook.clock import Millis
from surehook.model import Headers, NewEvent
from surehook.packs.request import KeySource, Request


class Received(msgspec.Struct, frozen=True):
    """The request is authentic: store it."""

    events: tuple[NewEvent, ...]
    #: The reference of the secret that verified it, empty where none is used.
    secret: str
    #: The headers less those that hold secrets.
    kept_headers: Headers
    #: The body to store where it is not the request's: what came in the query of a GET.
    body: bytes | None = None


class Challenge(msgspec.Struct, frozen=True):
    """The request is a handshake, or says nothing: answer with this and store nothing."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    #: What it was, for the log.
    kind: str = "challenge"
    #: The secret that the sender hands over with it, where it does.
    secret: str | None = None


class Refused(msgspec.Struct, frozen=True):
    """The request does not prove where it comes from: answer 401, always the same."""

    #: What exactly is wrong, for the operator only.
    detail: str
    #: What a right signature would have covered, in pieces; for the operator only.
    signed: Sequence[bytes] = ()


class KeysWanted(msgspec.Struct, frozen=True):
    """It cannot be said yet: fetch this, then ask again, or answer 503."""

    source: KeySource
    #: What was fetched before that moment is too old.
    since: Millis


#: A verdict that needs nothing more.
Settled = Received | Challenge | Refused
Verdict = Settled | KeysWanted


class Reading(msgspec.Struct):
    """What a pack finds in a request, as the sender wrote it; None for what is not there."""

    id: str | None = None
    type: str | None = None
    subject: str | None = None
    #: Unix seconds, unix milliseconds or ISO 8601.
    occurred_at: str | None = None
    #: Of an event among several: where in the body it stands (RFC 6901), and its bytes.
    part: str | None = None
    raw: bytes | None = None
    #: Why this one among several cannot be read; it is stored DEAD, the others are not touched.
    fault: Exception | None = None


class Reader(ABC):
    """Reads an authentic request."""

    @abstractmethod
    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        """Fill in what is there, from the headers first: what was filled in before a fault stays.

        Returns None for the one event of a request, the events of one that has several, or a Challenge where it is one.
        Raises one of ``FAULTS`` when the body is not what it should be: the event is stored, but DEAD.
        """
