"""What becomes of a request that has arrived as a whole: judged by its provider, stored, answered.

The one rule behind the answers: a 2xx only for what is durable, a 4xx only for what no repetition can mend, and 503 for
everything that is our trouble, because some providers never send again after a 4xx.

Nothing here knows how the request came: the ASGI application and the server's direct way both end here. There is no task
and no future for a request, since those would cost more than its signature.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from surehook.clock import Clock
from surehook.config import ServerSettings
from surehook.errors import Overloaded, Unavailable
from surehook.ids import EVENT_PREFIX, PayloadId, typeid, uuid7
from surehook.ingest.problems import (
    BAD_SIGNATURE,
    BARE_REFUSAL,
    BODY_TOO_LARGE,
    ENCODED_BODY,
    OVERLOADED,
    UNAVAILABLE,
    Answer,
    Pair,
    Problem,
    answer,
)
from surehook.model import Accepted, Arrival, Headers, Payload, Rejection
from surehook.packs import (
    Challenge,
    KeysUnavailable,
    KeysWanted,
    Provider,
    Received,
    Refused,
    Request,
    Verdict,
)
from surehook.states import Reason
from surehook.telemetry import new_traceparent, parse_traceparent

logger = logging.getLogger(__name__)

#: A body of up to this size is taken in when the bodies in flight have used up their budget; ``max_connections`` bounds
#: what that adds.
_ALWAYS: Final = 64 * 1024
#: A body beyond this size is verified and read in a thread, so that the others do not wait for it.
_LARGE: Final = 256 * 1024
#: Milliseconds between two log lines about requests that could not be stored.
_COMPLAIN_EVERY: Final = 1_000
_JSON: Final = b"application/json"

#: The paths of webhooks: the provider and, if there is one, the topic.
ROUTE: Final = r"/webhooks/([a-z0-9][a-z0-9_-]{0,63})(?:/([A-Za-z0-9][A-Za-z0-9._/-]{0,199}))?"

#: Is told once what became of an arrival, or why it was not stored.
Done = Callable[[Sequence[Accepted] | Exception], None]
#: Sends the one answer to a request.
Reply = Callable[[Answer], None]


class Accepting(Protocol):
    """The inbox, as ingest sees it."""

    def submit(self, arrival: Arrival, done: Done) -> None:
        """Store one request; see ``surehook.inbox.Inbox``."""
        ...


class Noting(Protocol):
    """The rejection log, as ingest sees it."""

    def note(self, rejection: Rejection) -> None:
        """Keep of a rejection what the settings want to be kept, without waiting."""
        ...


class Post:
    """A request on its way: while it arrives, its body counts against the budget of all bodies, until it is stored."""

    __slots__ = ("body", "headers", "method", "provider", "query", "remote", "size", "topic")

    def __init__(
        self, provider: Provider, topic: str, headers: Sequence[Pair], query: bytes, remote: str
    ) -> None:
        self.method = "POST"
        self.provider = provider
        self.topic = topic
        self.headers = headers
        self.query = query
        self.remote = remote
        self.body = b""
        #: Bytes that count.
        self.size = 0


class Intake:
    """Judges, stores and answers."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        inbox: Accepting,
        rejections: Noting,
        clock: Clock,
        settings: ServerSettings,
    ) -> None:
        self.providers = {name: provider for name, provider in providers.items() if provider.enabled}
        self._replies = {name: _Accepted(provider) for name, provider in self.providers.items()}
        self._inbox = inbox
        self._rejections = rejections
        self._clock = clock
        self._ack_timeout = settings.ack_timeout / 1000
        self._budget = settings.max_bytes_in_flight
        self._reading: set[asyncio.Task[None]] = set()
        self._unstored = 0
        self._complained_at = 0
        #: Bytes of bodies that are being received or committed.
        self.bytes_in_flight = 0

    def more(self, post: Post, size: int) -> Problem | None:
        """So many more bytes of its body are here; why they are too many, if they are. ``release`` them in any case."""
        post.size += size
        self.bytes_in_flight += size
        if post.size > post.provider.max_body:
            return BODY_TOO_LARGE
        # small bodies always get in, so that a few large ones that never end cannot keep all others out
        if self.bytes_in_flight <= self._budget or post.size <= _ALWAYS:
            return None
        self._complain("the bodies in flight have used up max_bytes_in_flight")
        return OVERLOADED

    def release(self, post: Post) -> None:
        """Its body is stored, or given up."""
        self.bytes_in_flight -= post.size
        post.size = 0

    def take(self, post: Post, reply: Reply) -> None:
        """Go on with a request whose body is complete. ``reply`` is called once, perhaps before this returns."""
        if len(post.body) > _LARGE:
            self._begin(self._take_large(post, reply))
            return
        try:
            request = self._request(post)
            self._go_on(post, request, post.provider.receive(request), reply)
        except Exception as error:  # noqa: BLE001 - our trouble, whatever it is: the sender is to come again
            self._fail(post, error, reply)

    async def drain(self) -> None:
        """Wait for large bodies that are still being read, and for keys that are being fetched.

        What is handed to the inbox is its own to finish.
        """
        while self._reading:
            await asyncio.wait(list(self._reading))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _take_large(self, post: Post, reply: Reply) -> None:
        try:
            request = self._request(post)
            verdict = await asyncio.to_thread(post.provider.receive, request)
            self._go_on(post, request, verdict, reply)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(post, error, reply)

    async def _take_with_keys(self, post: Post, request: Request, wanted: KeysWanted, reply: Reply) -> None:
        """Fetch the keys that a request needs and judge it again. Where there are none it is our trouble, not a 401."""
        try:
            self._go_on(post, request, await post.provider.settle(request, wanted), reply)
        except KeysUnavailable as error:
            self._complain(str(error))
            self.release(post)
            reply(UNAVAILABLE.keep)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(post, error, reply)

    def _fail(self, post: Post, error: Exception, reply: Reply) -> None:
        logger.error("a webhook could not be handled", exc_info=error)
        self.release(post)
        reply(UNAVAILABLE.close)

    def _request(self, post: Post) -> Request:
        return Request(
            provider=post.provider.name,
            topic=post.topic,
            method=post.method,
            headers=tuple(
                [(name.decode("latin-1"), value.decode("latin-1")) for name, value in post.headers]
            ),
            body=post.body,
            now=self._clock.now(),
            query=post.query.decode("latin-1"),
        )

    def _go_on(self, post: Post, request: Request, verdict: Verdict, reply: Reply) -> None:
        if isinstance(verdict, Received):
            arrival = arrival_of(request, verdict, post.provider.id_is_signed)
            self._inbox.submit(arrival, _Waiting(self, post, reply, self._ack_timeout).done)
            return
        if isinstance(verdict, KeysWanted):
            self._begin(self._take_with_keys(post, request, verdict, reply))
            return
        self.release(post)
        if isinstance(verdict, Challenge):
            logger.info(
                "%s was answered with %d", verdict.kind, verdict.status, extra={"provider": request.provider}
            )
            reply(_challenge_answer(verdict))
            return
        self._rejections.note(_rejection(post.provider, request, verdict, post.remote))
        reply(BARE_REFUSAL if post.provider.refuses_bare else BAD_SIGNATURE.keep)

    def answer_to(self, post: Post, outcome: Sequence[Accepted] | Exception) -> Answer:
        """The answer that says what became of a request, and a line in the log for what was not stored."""
        if not isinstance(outcome, Exception):
            return self._replies[post.provider.name].to(outcome)
        if not isinstance(outcome, Unavailable):
            logger.error("a webhook could not be stored", exc_info=outcome)
            return UNAVAILABLE.close
        self._complain(str(outcome))
        return OVERLOADED.keep if isinstance(outcome, Overloaded) else UNAVAILABLE.keep

    def complain_of_silence(self) -> None:
        """The commit takes longer than the sender is kept waiting."""
        self._complain("the database did not commit within ack_timeout")

    def _complain(self, why: str) -> None:
        """Log that requests are not stored; under a flood one line stands for many."""
        self._unstored += 1
        now = self._clock.now()
        if now - self._complained_at >= _COMPLAIN_EVERY:
            logger.warning("%d webhooks were answered 503: %s", self._unstored, why)
            self._unstored, self._complained_at = 0, now


class _Waiting:
    """A request that waits for its commit. The sender's patience and ours end; the commit is never cancelled."""

    __slots__ = ("_intake", "_post", "_reply", "_timer")

    def __init__(self, intake: Intake, post: Post, reply: Reply, patience: float) -> None:
        self._intake = intake
        self._post = post
        self._reply: Reply | None = reply
        self._timer = asyncio.get_running_loop().call_later(patience, self._give_up)

    def done(self, outcome: Sequence[Accepted] | Exception) -> None:
        self._timer.cancel()
        self._intake.release(self._post)
        reply, self._reply = self._reply, None
        if reply is None:
            return
        try:
            reply(self._intake.answer_to(self._post, outcome))
        except Exception:  # others of the same commit wait behind this one
            logger.exception("an answer could not be sent")

    def _give_up(self) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            self._intake.complain_of_silence()
            reply(UNAVAILABLE.keep)


def header_problem(headers: Sequence[Pair], limit: int) -> Problem | None:
    """What is wrong with a request whose body is not looked at yet; ``limit``: the largest body in bytes."""
    for name, value in headers:
        if name == b"content-length" and not (value.isdigit() and len(value) < 20 and int(value) <= limit):
            return BODY_TOO_LARGE
        if name == b"content-encoding" and value.lower() != b"identity":
            return ENCODED_BODY
    return None


def arrival_of(request: Request, verdict: Received, id_is_signed: bool) -> Arrival:
    """What the inbox is to store of an authentic request."""
    body, content_type = request.body, dict(request.headers).get("content-type", "")
    if verdict.body is not None:
        body, content_type = verdict.body, "application/x-www-form-urlencoded"
    payload = Payload(
        id=PayloadId(uuid7(request.now)),
        provider=request.provider,
        topic=request.topic,
        body=body,
        headers=verdict.kept_headers,
        content_type=content_type,
        sha256=hashlib.sha256(body).digest(),
        received_at=request.now,
        secret=verdict.secret,
    )
    return Arrival(
        payload=payload,
        events=verdict.events,
        id_is_signed=id_is_signed,
        traceparent=traceparent(request.headers),
    )


def _challenge_answer(challenge: Challenge) -> Answer:
    extra = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in challenge.headers]
    return answer(challenge.status, challenge.body, challenge.content_type.encode("latin-1"), *extra)


def _rejection(provider: Provider, request: Request, verdict: Refused, remote: str) -> Rejection:
    return Rejection(
        provider=request.provider,
        topic=request.topic,
        reason=Reason.BAD_SIGNATURE,
        detail=verdict.detail,
        headers=provider.provable(request.headers),
        body_sha256=hashlib.sha256(request.body).digest(),
        body_size=len(request.body),
        received_at=request.now,
        remote=remote,
        method=request.method,
        query=request.query,
        body=request.body,
    )


def traceparent(headers: Headers) -> str:
    """The request's W3C trace context as version 00, or a new one where it has none, several, or a malformed one."""
    given = [value for name, value in headers if name == "traceparent"]
    found = parse_traceparent(given[0].strip()) if len(given) == 1 else None
    return str(found) if found is not None else new_traceparent()


class _Accepted:
    """How a provider's settings want an accepted request to be answered."""

    def __init__(self, provider: Provider) -> None:
        self._status, body, content_type = provider.response
        self._fixed: Answer | None = None
        if body is not None:
            guessed = _JSON if _is_json(body) else b"text/plain; charset=utf-8"
            self._fixed = answer(self._status, body, content_type.encode() if content_type else guessed)

    def to(self, accepted: Sequence[Accepted]) -> Answer:
        """The answer that says what became of each event."""
        if self._fixed is not None:
            return self._fixed
        events = ",".join(
            [
                f'{{"id":"{typeid(EVENT_PREFIX, each.id)}","duplicate":{"true" if each.duplicate else "false"}}}'
                for each in accepted
            ]
        )
        return answer(self._status, f'{{"received":true,"events":[{events}]}}'.encode("ascii"), _JSON)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except msgspec.DecodeError:
        return False
    return True
