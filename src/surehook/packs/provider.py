"""A configured sender: verify, then read, with no other way round."""

from __future__ import annotations

import asyncio
import hashlib

from msgspec.structs import replace

from surehook.clock import Millis
from surehook.config import ProviderSettings
from surehook.entropy import random_bytes
from surehook.errors import InvalidRequest
from surehook.ids import EventId, uuid7
from surehook.mac import Hmac
from surehook.model import Headers, NewEvent
from surehook.packs.keystore import MOST_FETCHES, KeysUnavailable
from surehook.packs.pack import SECRET_HEADERS, Pack, Setup
from surehook.packs.reading import FAULTS, moment, storable_id, storable_label
from surehook.packs.request import BadSignature, Delivery, Draft, KeysNeeded, Request
from surehook.packs.verdicts import Challenge, KeysWanted, Reading, Received, Refused, Settled, Verdict
from surehook.secrets import Secret
from surehook.states import Reason

#: A key that signs nothing.
_NOBODY = Hmac(random_bytes(32))
#: The answer where there is nothing to store and the sender has no wish.
_NOTHING = Challenge(200, kind="a request without events")


class Provider:
    """One configured sender. Raises ConfigurationError for settings or secrets that cannot work."""

    def __init__(self, name: str, pack: Pack, setup: Setup, default_max_body: int) -> None:
        settings = setup.settings
        self.name = name
        self.pack = pack.name
        self.docs_url = pack.docs_url
        self.enabled = settings.enabled
        self.methods = pack.methods
        self.max_body = settings.max_body or max(pack.max_body or 0, default_max_body)
        self.id_is_signed = pack.covers_id(settings)
        self.response = _response(pack, settings)
        self.refuses_bare = pack.refuses_bare
        self._pack = pack
        self._setup = setup
        self._live = len(setup.secrets)
        self._settings = settings
        self._scheme = pack.scheme(setup)
        self._reader = pack.reader(settings)
        self._dropped = pack.dropped_headers(settings)
        self._foreign = SECRET_HEADERS - pack.proof_headers(settings)

    def receive(self, request: Request) -> Verdict:
        """What to do with a request; raises for no input.

        Pure but for one thing: a secret that the sender hands over is kept. Raises Unavailable when it cannot be.
        """
        if not self.enabled:
            return Refused("the provider is disabled")
        if self._setup.vacancy is not None and (given := self._setup.vacancy.look()) is not None:
            self._learn(given)  # by another process
        try:
            greeting = self._pack.greet(request, self._setup)
            if greeting is None:
                return self._read(request, self._scheme.verify(request))
            if greeting.secret is not None and self._setup.vacancy is not None:
                self._learn(self._setup.vacancy.fill(greeting.secret))
            return greeting
        except BadSignature as refusal:
            if not refusal.signed:
                self._waste(request)
            return Refused(str(refusal), refusal.signed)
        except KeysNeeded as needed:
            return KeysWanted(needed.source, needed.since)

    async def fetch_keys(self, wanted: KeysWanted, now: Millis) -> None:
        """Fetch what a verdict asks for: then the request can be judged again. Raises KeysUnavailable."""
        await self._setup.store.fetch(wanted.source, wanted.since, now)

    def reread(self, request: Request) -> Received | Challenge:
        """What is read now in a request that was found to be authentic when it came: its proof was not kept."""
        return self._read(request, "")

    def provable(self, headers: Headers) -> Headers:
        """The headers that judging the request again needs: all but the secrets of other kinds."""
        return tuple([pair for pair in headers if pair[0] not in self._foreign])

    def hides(self, header: str) -> bool:
        """Whether this header, in lower case, may hold a secret, so that nobody is shown it."""
        return header in self._dropped or header in SECRET_HEADERS

    async def settle(self, request: Request, verdict: Verdict | None = None) -> Settled:
        """The verdict, with all keys fetched that it asks for; ``verdict``: the first one, where it is known.

        Raises KeysUnavailable.
        """
        verdict = self.receive(request) if verdict is None else verdict
        for _ in range(MOST_FETCHES):
            if isinstance(verdict, KeysWanted):
                await self.fetch_keys(verdict, request.now)
                # the body may be large, and beside the fetch a thread costs nothing
                verdict = await asyncio.to_thread(self.receive, request)
        if isinstance(verdict, KeysWanted):
            raise KeysUnavailable(f"what {verdict.source.place} answers does not last")
        return verdict

    def sign(self, draft: Draft) -> Delivery:
        """What the sender would deliver now. Raises as ``Pack.sign`` does."""
        if not self.enabled:
            raise InvalidRequest(f"the provider {self.name} is disabled")
        return self._pack.deliver(self._scheme, self._settings, draft)

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        """A small realistic body, as ``Pack.sample``."""
        return self._pack.sample(type, external_id=external_id)

    def _learn(self, secret: Secret) -> None:
        """A secret was handed over: from now on it verifies."""
        self._setup = replace(self._setup, secrets=(*self._setup.secrets, secret), vacancy=None)
        self._scheme = self._pack.scheme(self._setup)
        self._live = len(self._setup.secrets)

    def _waste(self, request: Request) -> None:
        """Work as long as on a wrong signature, so that time does not tell how far a forger has come."""
        for _ in range(self._live):
            _NOBODY.digest((request.body,))

    def _read(self, request: Request, secret: str) -> Received | Challenge:
        reading = Reading()
        try:
            found = self._reader.read(request, reading)
        except FAULTS as fault:
            found, reading.fault = None, fault
        if isinstance(found, Challenge):
            return found
        readings = [reading] if found is None else found
        if not readings:
            return _NOTHING
        # those of one request are claimed in its order, and of two ids of one millisecond either may be the smaller
        ids = sorted([uuid7(request.now) for _ in readings])
        events = [
            self._event(request, reading, number, EventId(id))
            for number, (reading, id) in enumerate(zip(readings, ids, strict=True))
        ]
        return Received(tuple(events), secret, self._kept(request.headers), _stored(request))

    def _event(self, request: Request, reading: Reading, number: int, id: EventId) -> NewEvent:
        return NewEvent(
            id=id,
            external_id=storable_id(reading.id) if reading.id else self._substitute(request, reading),
            type=storable_label(reading.type or request.topic or self.name),
            subject=storable_label(reading.subject) if reading.subject else None,
            item=number,
            part=reading.part,
            sha256=None if reading.raw is None else hashlib.sha256(reading.raw).digest(),
            occurred_at=moment(reading.occurred_at),
            weak=not reading.id,
            dead=None if reading.fault is None else Reason.UNPARSABLE,
            error=None if reading.fault is None else _describe(reading.fault),
        )

    def _substitute(self, request: Request, reading: Reading) -> str:
        """The external id of what has none: the digest of what was sent, so that a repetition is known."""
        if self._pack.bodies_repeat:
            return f"delivery:{uuid7(request.now).hex()}"
        if reading.raw is not None:
            return hashlib.sha256(reading.raw).hexdigest()
        stored = _stored(request)
        return hashlib.sha256(request.body if stored is None else stored).hexdigest()

    def _kept(self, headers: Headers) -> Headers:
        return tuple([pair for pair in headers if pair[0] not in self._dropped])


def _stored(request: Request) -> bytes | None:
    """What a GET says stands in its query; None where the body is to be stored."""
    if request.method == "GET" and not request.body:
        return request.query.encode("latin-1", "replace")
    return None


def _response(pack: Pack, settings: ProviderSettings) -> tuple[int, bytes | None, str | None]:
    """Status, body and content type of the answer to what is accepted; None: Surehook's own."""
    status, body, content_type = pack.response or (200, None, None)
    if settings.response_body is not None:
        body, content_type = settings.response_body.encode(), None
    return settings.response_status or status, body, content_type


def _describe(fault: Exception) -> str:
    if isinstance(fault, RecursionError):
        return "the body cannot be read: it is nested too deeply"
    if isinstance(fault, UnicodeDecodeError):
        return f"the body cannot be read: it is not UTF-8 (byte {fault.start})"
    return f"the body cannot be read: {fault}"
