"""A request as packs see it, what refuses it, and the delivery that a sender would make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from surehook.clock import Millis
from surehook.errors import InvalidRequest
from surehook.model import Headers
from surehook.secrets import Secret


class BadSignature(InvalidRequest):
    """The request does not prove where it comes from. The message is for the operator only."""

    def __init__(self, message: str, signed: Sequence[bytes] = ()) -> None:
        super().__init__(message)
        #: What a right signature would have covered, in pieces; empty where it was not come to that.
        self.signed = signed


class Found(msgspec.Struct, frozen=True):
    """What was fetched, as a scheme uses it."""

    #: None where the sender says that there is no such key.
    value: Any
    #: When it loses its validity; None where it does not say so itself.
    until: Millis | None = None


class KeySource(msgspec.Struct, frozen=True):
    """Where keys are fetched. Whoever makes one has checked that the host is the sender's own."""

    url: str
    #: What is made of the answer's body. Raises ValueError when it is not what it should be.
    read: Callable[[bytes], Found]
    #: The JSON to post, for those who want to know who asks; else it is a GET.
    post: Secret | None = None
    #: Tells apart what comes from one URL.
    part: str = ""
    #: The statuses of answers that ``read`` understands.
    statuses: tuple[int, ...] = (200,)

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by."""
        return self.url, self.part

    @property
    def place(self) -> str:
        """The URL as it may be shown: its query may hold a token."""
        return self.url.partition("?")[0]


class KeysNeeded(Exception):
    """What verifies is not here: fetch it, then judge the request again.

    It is no BadSignature, for the request may be good. ``since``: what was fetched before that moment is too old.
    """

    def __init__(self, source: KeySource, since: Millis) -> None:
        super().__init__(f"keys are needed from {source.place}")
        self.source = source
        self.since = since


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


class Draft(msgspec.Struct, frozen=True):
    """What a sender is about to sign and send."""

    body: bytes
    now: Millis
    external_id: str
    type: str
    topic: str = ""
    query: str = ""
    method: str = "POST"


class Delivery(msgspec.Struct, frozen=True):
    """A signed request, ready to be sent."""

    headers: dict[str, str]
    body: bytes
    query: str = ""
    method: str = "POST"
