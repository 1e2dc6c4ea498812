"""What a pack is, and the provider that is built from one: verify, then read, with no other way round."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from surehook.clock import Millis
from surehook.config import ProviderSettings
from surehook.errors import ConfigurationError, InvalidRequest
from surehook.ids import EventId, uuid7
from surehook.ingest.packs.reading import FAULTS, moment, storable_id, storable_label
from surehook.ingest.signatures import BadSignature, Request, Scheme
from surehook.model import Headers, NewEvent
from surehook.secrets import Secret
from surehook.states import Reason

#: Headers that hold secrets of others: never stored.
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})


class Received(msgspec.Struct, frozen=True):
    """The request is authentic: store it."""

    events: tuple[NewEvent, ...]
    #: The reference of the secret that verified it, empty where none is used.
    secret: str
    #: The headers less those that hold secrets.
    kept_headers: Headers


class Challenge(msgspec.Struct, frozen=True):
    """The request is a handshake: answer with this and store nothing."""

    status: int
    body: bytes
    content_type: str


class Refused(msgspec.Struct, frozen=True):
    """The request does not prove where it comes from: answer 401, always the same."""

    #: What exactly is wrong, for the operator only.
    detail: str


Verdict = Received | Challenge | Refused


class Reading(msgspec.Struct):
    """What a pack finds in a request, as the sender wrote it; None for what is not there."""

    id: str | None = None
    type: str | None = None
    subject: str | None = None
    #: Unix seconds, unix milliseconds or ISO 8601.
    occurred_at: str | None = None


class Reader(ABC):
    """Reads an authentic request."""

    @abstractmethod
    def read(self, request: Request, into: Reading) -> Challenge | None:
        """Fill in what is there, from the headers first: what was filled in before a fault stays.

        Raises one of ``FAULTS`` when the body is not what it should be: the event is stored, but DEAD.
        Returns a Challenge where the request is one.
        """


class Pack(ABC):
    """What is known of one kind of sender: how it signs, where its ids stand, what its events look like."""

    name: ClassVar[str]
    summary: ClassVar[str]
    docs_url: ClassVar[str]
    #: The settings that it knows besides the common ones.
    settings: ClassVar[frozenset[str]] = frozenset()
    #: False where the signature does not cover the external id.
    id_is_signed: ClassVar[bool] = True
    needs_secrets: ClassVar[bool] = True
    #: The largest body in bytes that this sender is known to send, where it is more than the default.
    max_body: ClassVar[int | None] = None
    #: Settings that work, to show and to try out: secrets aside.
    example: ClassVar[ProviderSettings] = ProviderSettings()
    sample_type: ClassVar[str]

    @abstractmethod
    def scheme(self, settings: ProviderSettings, secrets: Sequence[Secret]) -> Scheme:
        """Its signature scheme. Raises ConfigurationError for settings or secrets that cannot work."""

    @abstractmethod
    def reader(self, settings: ProviderSettings) -> Reader:
        """Its reader. Raises ConfigurationError for settings that cannot work."""

    def covers_id(self, settings: ProviderSettings) -> bool:
        """Whether, with these settings, nobody can change the external id without breaking the signature."""
        return self.id_is_signed

    def dropped_headers(self, settings: ProviderSettings) -> frozenset[str]:
        """The headers, in lower case, that are never stored since they hold secrets."""
        return SECRET_HEADERS

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        """The headers besides the signature's that such a sender adds."""
        return {}

    @abstractmethod
    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        """A small realistic body of this type, with this id where ids stand in the body."""

    def sign(
        self,
        secret: Secret | str,
        body: bytes,
        now: Millis,
        *,
        external_id: str,
        type: str,
        settings: ProviderSettings | None = None,
    ) -> dict[str, str]:
        """The headers with which the sender would deliver this body now. ``settings``: ``example`` when not given.

        Raises ConfigurationError for a malformed secret, InvalidRequest for one that can only verify.
        """
        chosen = self.example if settings is None else settings
        secrets = [secret if isinstance(secret, Secret) else Secret(secret)]
        signature = self.scheme(chosen, secrets).sign(body, now, external_id)
        return {"content-type": "application/json", **self.headers(chosen, external_id, type), **signature}


class Provider:
    """One configured sender."""

    def __init__(
        self,
        name: str,
        pack: Pack,
        settings: ProviderSettings,
        secrets: Sequence[Secret],
        default_max_body: int,
    ) -> None:
        self.name = name
        self.pack = pack.name
        self.docs_url = pack.docs_url
        self.enabled = settings.enabled
        self.max_body = settings.max_body or max(pack.max_body or 0, default_max_body)
        self.id_is_signed = pack.covers_id(settings)
        self.response_status = settings.response_status
        self.response_body = settings.response_body
        self._pack = pack
        self._settings = settings
        self._scheme = pack.scheme(settings, secrets)
        self._reader = pack.reader(settings)
        self._dropped = pack.dropped_headers(settings)

    def receive(self, request: Request) -> Verdict:
        """What to do with a request. Pure; raises for no input."""
        if not self.enabled:
            return Refused("the provider is disabled")
        try:
            return self._read(request, self._scheme.verify(request))
        except BadSignature as refusal:
            return Refused(str(refusal))

    def sign(self, body: bytes, now: Millis, *, external_id: str, type: str) -> dict[str, str]:
        """The headers with which the sender would deliver this body now. Raises as ``Pack.sign`` does."""
        if not self.enabled:
            raise InvalidRequest(f"the provider {self.name} is disabled")
        signature = self._scheme.sign(body, now, external_id)
        sent = self._pack.headers(self._settings, external_id, type)
        return {"content-type": "application/json", **sent, **signature}

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        """A small realistic body, as ``Pack.sample``."""
        return self._pack.sample(type, external_id=external_id)

    def _read(self, request: Request, secret: str) -> Received | Challenge:
        reading, error = Reading(), None
        try:
            challenge = self._reader.read(request, reading)
        except FAULTS as fault:
            challenge, error = None, _describe(fault)
        if challenge is not None:
            return challenge
        return Received((self._event(request, reading, error),), secret, self._kept(request.headers))

    def _event(self, request: Request, reading: Reading, error: str | None) -> NewEvent:
        return NewEvent(
            id=EventId(uuid7(request.now)),
            external_id=storable_id(reading.id) if reading.id else hashlib.sha256(request.body).hexdigest(),
            type=storable_label(reading.type or request.topic or self.name),
            subject=storable_label(reading.subject) if reading.subject else None,
            occurred_at=moment(reading.occurred_at),
            weak=not reading.id,
            dead=Reason.UNPARSABLE if error else None,
            error=error,
        )

    def _kept(self, headers: Headers) -> Headers:
        return tuple([pair for pair in headers if pair[0] not in self._dropped])


def _describe(fault: Exception) -> str:
    if isinstance(fault, RecursionError):
        return "the body cannot be read: it is nested too deeply"
    if isinstance(fault, UnicodeDecodeError):
        return f"the body cannot be read: it is not UTF-8 (byte {fault.start})"
    return f"the body cannot be read: {fault}"


def require_secrets(pack: Pack, settings: ProviderSettings) -> None:
    """Raise ConfigurationError when secrets are missing, or given where nothing is verified."""
    if pack.needs_secrets and not settings.secrets:
        raise ConfigurationError(
            f"pack {pack.name!r} verifies with a secret and none is given: set secrets = ['env:NAME'], "
            'or write pack = "none" to accept requests from anyone'
        )
    if not pack.needs_secrets and settings.secrets:
        raise ConfigurationError(
            f"pack {pack.name!r} verifies nothing, so its secrets would not be used: remove them"
        )
