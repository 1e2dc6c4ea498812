"""The seam's two faces over an adapter's way to run a verb: in a transaction, or reading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from surehook.clock import Millis
from surehook.ids import EventId, MessageId, PayloadId, RejectionId
from surehook.model import (
    Accepted,
    Action,
    ActionResult,
    Arrival,
    AuditEntry,
    Claim,
    Counts,
    EventRow,
    FailureRow,
    IgnoredEvent,
    MessageClaim,
    MessageRow,
    MessageSettlement,
    Payload,
    Readmission,
    Rejection,
    RejectionRow,
    Reread,
    Rereading,
    Rescued,
    RowFilter,
    Settlement,
)
from surehook.storage import UnitOfWork, arrivals, attempts, mending, operators, reading
from surehook.storage.named import Statements

Result = TypeVar("Result")

#: A verb, waiting for the statements it is to run.
Verb = Callable[[Statements], Coroutine[Any, Any, Result]]

#: Due since the beginning of time.
_EVER = Millis(0)


class MendingVerbs(ABC):
    """The verbs of people who mend; an adapter says how a transaction is run."""

    @abstractmethod
    async def _write(self, verb: Verb[Result]) -> Result:
        """Run a verb in one transaction; returns when it is durable."""

    async def readmit(self, batch: Sequence[Readmission], action: Action) -> list[list[Accepted] | None]:
        """Storage.readmit."""
        return await self._write(lambda db: mending.readmit(db, batch, action))

    async def reread(self, batch: Sequence[Rereading], action: Action) -> list[Reread]:
        """Storage.reread."""
        return await self._write(lambda db: mending.reread(db, batch, action))


class WritingVerbs(MendingVerbs):
    """The write verbs."""

    async def accept(self, batch: Sequence[Arrival]) -> list[list[Accepted]]:
        """Storage.accept."""
        return await self._write(lambda db: arrivals.accept(db, batch))

    async def reject(self, rejections: Sequence[Rejection], *, keep: int) -> None:
        """Storage.reject."""
        await self._write(lambda db: arrivals.reject(db, rejections, keep))

    async def claim(
        self, limit: int, now: Millis, lease_until: Millis, only: Sequence[EventId] | None = None
    ) -> list[Claim]:
        """Storage.claim."""
        if only is None:
            claims, _ = await self._write(lambda db: attempts.claim_due(db, limit, now, lease_until, _EVER))
            return claims
        return await self._write(lambda db: attempts.claim_named(db, only[:limit], now, lease_until))

    async def extend(self, claims: Sequence[Claim], lease_until: Millis) -> list[EventId]:
        """Storage.extend."""
        return await self._write(lambda db: attempts.extend(db, claims, lease_until))

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Storage.settle."""
        return await self._write(lambda db: attempts.settle(db, settlements))

    @abstractmethod
    def begin(self, claim: Claim) -> UnitOfWork:
        """Storage.begin."""

    async def claim_messages(
        self, destination: str, limit: int, now: Millis, lease_until: Millis
    ) -> list[MessageClaim]:
        """Storage.claim_messages."""
        claims, _ = await self._write(
            lambda db: attempts.claim_messages(db, destination, limit, now, lease_until, _EVER)
        )
        return claims

    async def extend_messages(self, claims: Sequence[MessageClaim], lease_until: Millis) -> list[MessageId]:
        """Storage.extend_messages."""
        return await self._write(lambda db: attempts.extend_messages(db, claims, lease_until))

    async def settle_messages(self, settlements: Sequence[MessageSettlement]) -> list[bool]:
        """Storage.settle_messages."""
        return await self._write(lambda db: attempts.settle_messages(db, settlements))

    async def rescue(self, now: Millis, *, poison_after: int, limit: int = 1000) -> Rescued:
        """Storage.rescue."""
        return await self._write(lambda db: attempts.rescue(db, now, poison_after, limit))

    async def take_back(self, ids: Sequence[EventId], now: Millis) -> int:
        """Storage.take_back."""
        return await self._write(lambda db: attempts.take_back(db, ids, now))

    async def replay_events(self, ids: Sequence[EventId], action: Action) -> list[ActionResult]:
        """Storage.replay_events."""
        return await self._write(lambda db: operators.replay_events(db, ids, action))

    async def discard_events(self, ids: Sequence[EventId], action: Action) -> list[ActionResult]:
        """Storage.discard_events."""
        return await self._write(lambda db: operators.discard_events(db, ids, action))

    async def replay_messages(self, ids: Sequence[MessageId], action: Action) -> list[ActionResult]:
        """Storage.replay_messages."""
        return await self._write(lambda db: operators.replay_messages(db, ids, action))

    async def discard_messages(self, ids: Sequence[MessageId], action: Action) -> list[ActionResult]:
        """Storage.discard_messages."""
        return await self._write(lambda db: operators.discard_messages(db, ids, action))


class ReadingVerbs(ABC):
    """The reading verbs; an adapter says where they read."""

    @abstractmethod
    async def _read(self, verb: Verb[Result]) -> Result:
        """Run a verb on what is committed."""

    async def event(self, id: EventId) -> EventRow | None:
        """Reader.event."""
        return await self._read(lambda db: reading.event(db, id))

    async def events(self, wanted: RowFilter) -> list[EventRow]:
        """Reader.events."""
        return await self._read(lambda db: reading.events(db, wanted))

    async def payload(self, id: PayloadId) -> Payload | None:
        """Reader.payload."""
        return await self._read(lambda db: reading.payload(db, id))

    async def message(self, id: MessageId) -> MessageRow | None:
        """Reader.message."""
        return await self._read(lambda db: reading.message(db, id))

    async def message_body(self, id: MessageId) -> bytes | None:
        """Reader.message_body."""
        return await self._read(lambda db: reading.message_body(db, id))

    async def messages(self, wanted: RowFilter) -> list[MessageRow]:
        """Reader.messages."""
        return await self._read(lambda db: reading.messages(db, wanted))

    async def failures(self, id: EventId | MessageId) -> list[FailureRow]:
        """Reader.failures."""
        return await self._read(lambda db: reading.failures(db, id))

    async def rejections(self, wanted: RowFilter) -> list[RejectionRow]:
        """Reader.rejections."""
        return await self._read(lambda db: reading.rejections(db, wanted))

    async def rejection(self, id: RejectionId) -> RejectionRow | None:
        """Reader.rejection."""
        return await self._read(lambda db: reading.rejection(db, id))

    async def audit(self, limit: int, subject: str | None = None) -> list[AuditEntry]:
        """Reader.audit."""
        return await self._read(lambda db: reading.audit(db, limit, subject))

    async def counts(self) -> Counts:
        """Reader.counts."""
        return await self._read(reading.counts)

    async def ignored_since(
        self, since: Millis, after: IgnoredEvent | None, limit: int
    ) -> list[IgnoredEvent]:
        """Reader.ignored_since."""
        return await self._read(lambda db: reading.ignored_since(db, since, after, limit))

    async def due(self, before: Millis, limit: int) -> list[EventId]:
        """Reader.due."""
        return await self._read(lambda db: reading.due(db, before, limit))

    async def database_time(self) -> Millis:
        """Reader.database_time."""
        return await self._read(reading.database_time)
