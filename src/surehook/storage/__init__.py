"""The storage seam: the specification that every database adapter fulfils, word by word.

``tests/contract/test_storage.py`` is its proof and runs unchanged over every adapter.

Common to all verbs: times are milliseconds by the database's clock and are passed in; a verb returns only after its commit
is durable; ``Unavailable`` means that nothing was written, ``CommitUnknown`` that nobody can tell; a verb that gets several
rows writes them all in one transaction, and a row that is refused (a lost lease, say) does not refuse the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

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

#: Parameters of a handler's statement: by name (``:name``) or by position (``?``).
Parameters = Mapping[str, Any] | Sequence[Any]


class Lending(Protocol):
    """The driver beneath an attempt's transaction, for tools that handlers bring themselves.

    Every verb raises TransactionError where no driver can be shared: two SQLite libraries in one process lose rows.
    """

    async def connection(self) -> Any:
        """The connection, with the transaction open on it; its commit, rollback and close are refused.

        Raises TransactionError when the attempt has ended, Unavailable when there is no connection.
        """
        ...

    def connection_blocking(self) -> Any:
        """``connection`` for a handler that runs in a thread: one of the driver's that block."""
        ...

    def complete_on(self, connection: Any, settlement: Settlement) -> None:
        """Write the completion in a transaction that is open on somebody else's connection, in that one's thread.

        It becomes durable with that transaction. Raises LeaseLost as ``complete`` does; TransactionError when the attempt
        has ended or has a transaction of its own, and when the connection leads to another database.
        """
        ...


class UnitOfWork(Lending, Protocol):
    """The transaction of one attempt. It opens at the first statement and not before.

    Its statements, the event's next state and the messages commit together, or none of them does.
    """

    @property
    def opened(self) -> bool:
        """Whether a statement was run."""
        ...

    async def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement; returns how many rows it inserted, updated or deleted.

        Raises TransactionError when the statement would end or leave the transaction, when the transaction's time budget
        is used up, or when it has ended; the database's own error when the statement is wrong.
        """
        ...

    async def fetch(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """Run one statement and return its rows, column name to value. Raises as ``execute`` does."""
        ...

    def execute_blocking(self, sql: str, parameters: Parameters = ()) -> int:
        """``execute`` for a handler that runs in a thread."""
        ...

    def fetch_blocking(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """``fetch`` for a handler that runs in a thread."""
        ...

    def on_expired(self, callback: Callable[[], object]) -> None:
        """Call this, on the loop, when the transaction's time budget ends and it has been rolled back."""
        ...

    async def complete(self, settlement: Settlement) -> None:
        """Write the completion and its messages in this transaction, and commit.

        Raises LeaseLost, with everything rolled back, when the event is no longer held under the settlement's token.
        """
        ...

    async def rollback(self) -> bool:
        """Undo everything. Allowed at any time and more than once; a no-op when nothing was opened or it has ended.

        False: others that shared the transaction were undone as well, so what the attempt saw of them never came to be.
        """
        ...


#: Creates what the application needs in the database, in the transaction it is given.
SetupFunction = Callable[[UnitOfWork], Awaitable[None]]


class Mending(Protocol):
    """What people do when they were told wrong, or had set up something wrong."""

    async def readmit(self, batch: Sequence[Readmission], action: Action) -> list[list[Accepted] | None]:
        """Let refused requests in: store each as ``accept`` does, delete its rejection and audit it.

        For each, in order, what became of each of its events; None where the rejection is no longer there: then nothing is
        stored, so that a rejection becomes events once at most, whoever asks how often.
        """
        ...

    async def reread(self, batch: Sequence[Rereading], action: Action) -> list[Reread]:
        """Give events what is read in their stored requests now, and audit what that has changed.

        Type, subject, time and place in the body are the new ones. A DEAD event that is UNPARSABLE becomes RECEIVED once it
        can be read. Events that the request was found to hold besides are added. External ids stay as they are. A PROCESSING
        event is left alone, and so is one that is read as another event that is stored already.
        """
        ...


class Storage(Mending, Protocol):
    """The write verbs."""

    async def accept(self, batch: Sequence[Arrival]) -> list[list[Accepted]]:
        """Store payloads and events; for each arrival, in order, what became of each of its events.

        An event whose (provider, external id) is known, also from the same call, is a duplicate: it is counted on the
        stored event and answered with that event's id. If the stored body differs, a rejection ID_REUSED is written. A
        payload of which every event is a duplicate is not stored. An event whose ``id_is_signed`` is false and whose body
        came under another id of the same provider in the last 24 h is stored DEAD with REPLAY_SUSPECT.
        """
        ...

    async def reject(self, rejections: Sequence[Rejection], *, keep: int) -> None:
        """Store rejections; only the newest ``keep`` rows of the table stay, and bodies only of the newest 100 MB."""
        ...

    async def claim(
        self, limit: int, now: Millis, lease_until: Millis, only: Sequence[EventId] | None = None
    ) -> list[Claim]:
        """Take up to ``limit`` due events, longest due first; of ``only``, if given.

        What became due out of order (its clock ran behind, its commit came late) may come some seconds after its turn.
        Counts the attempt, raises the lease token and sets PROCESSING. No event is ever claimed by two callers.
        """
        ...

    async def extend(self, claims: Sequence[Claim], lease_until: Millis) -> list[EventId]:
        """Prolong leases; returns the ids whose lease was lost (state or token changed)."""
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """End attempts that have no open transaction: state, messages and failure. False: the lease was lost."""
        ...

    def begin(self, claim: Claim) -> UnitOfWork:
        """The transaction for one attempt; costs nothing until its first statement."""
        ...

    async def claim_messages(
        self, destination: str, limit: int, now: Millis, lease_until: Millis
    ) -> list[MessageClaim]:
        """Take up to ``limit`` due messages of one destination, as ``claim`` does events."""
        ...

    async def extend_messages(self, claims: Sequence[MessageClaim], lease_until: Millis) -> list[MessageId]:
        """Prolong leases of messages; returns the ids that were lost."""
        ...

    async def settle_messages(self, settlements: Sequence[MessageSettlement]) -> list[bool]:
        """End tries at messages. False: the lease was lost."""
        ...

    async def rescue(self, now: Millis, *, poison_after: int, limit: int = 1000) -> Rescued:
        """Give back up to ``limit`` events and as many messages whose lease has expired, oldest first.

        Each counts a lost lease. An event or message that has lost ``poison_after`` of them becomes DEAD with POISON, any
        other RETRYING and due now (PROCESSING -> RETRYING, SENDING -> RETRYING).
        """
        ...

    async def take_back(self, ids: Sequence[EventId], now: Millis) -> int:
        """Put IGNORED events back to RECEIVED because a handler for them has appeared; returns how many."""
        ...

    async def replay_events(self, ids: Sequence[EventId], action: Action) -> list[ActionResult]:
        """Put finished events back to RECEIVED with their attempts and lost leases at 0, and audit it.

        An event that is RETRYING stays so and is due at once. RECEIVED and PROCESSING ones are left alone.
        """
        ...

    async def discard_events(self, ids: Sequence[EventId], action: Action) -> list[ActionResult]:
        """DEAD -> DISCARDED, audited."""
        ...

    async def replay_messages(self, ids: Sequence[MessageId], action: Action) -> list[ActionResult]:
        """Put finished messages back to PENDING with their attempts and lost leases at 0, and audit it.

        A message that is RETRYING stays so and is due at once. PENDING and SENDING ones are left alone.
        """
        ...

    async def discard_messages(self, ids: Sequence[MessageId], action: Action) -> list[ActionResult]:
        """DEAD -> DISCARDED, audited."""
        ...


class Reader(Protocol):
    """The reading verbs. They see what is committed and never block a writer."""

    async def event(self, id: EventId) -> EventRow | None:
        """One event."""
        ...

    async def events(self, wanted: RowFilter) -> list[EventRow]:
        """A page of events, newest first."""
        ...

    async def payload(self, id: PayloadId) -> Payload | None:
        """One received request."""
        ...

    async def message(self, id: MessageId) -> MessageRow | None:
        """One message."""
        ...

    async def message_body(self, id: MessageId) -> bytes | None:
        """The bytes that are delivered."""
        ...

    async def messages(self, wanted: RowFilter) -> list[MessageRow]:
        """A page of messages, newest first."""
        ...

    async def failures(self, id: EventId | MessageId) -> list[FailureRow]:
        """The failed attempts of an event or message, oldest first."""
        ...

    async def rejections(self, wanted: RowFilter) -> list[RejectionRow]:
        """A page of refused requests, newest first, without their bodies."""
        ...

    async def rejection(self, id: RejectionId) -> RejectionRow | None:
        """One refused request, with its body where that is kept."""
        ...

    async def audit(self, limit: int, subject: str | None = None) -> list[AuditEntry]:
        """The newest audit entries, newest first; of one row only, if its TypeID is given as ``subject``."""
        ...

    async def counts(self) -> Counts:
        """How many rows stand in each state; the cost does not grow with the history."""
        ...

    async def ignored_since(
        self, since: Millis, after: IgnoredEvent | None, limit: int
    ) -> list[IgnoredEvent]:
        """Events IGNORED after that moment, in the order in which they were; a page begins after the last one of another."""
        ...

    async def due(self, before: Millis, limit: int) -> list[EventId]:
        """Events that were due before that moment and are not claimed, longest due first."""
        ...

    async def database_time(self) -> Millis:
        """The database's clock."""
        ...


class Database(Protocol):
    """An open database: its two faces, and its life."""

    @property
    def storage(self) -> Storage:
        """The write verbs."""
        ...

    @property
    def reader(self) -> Reader:
        """The reading verbs."""
        ...

    async def run_setup(self, functions: Sequence[SetupFunction]) -> None:
        """Run the application's set-up functions in one transaction."""
        ...

    async def check(self) -> None:
        """Prove that writing works: raises Unavailable with the reason when it does not."""
        ...

    async def maintain(self, now: Millis) -> None:
        """Make what the coming days need. Any number of processes may call it, at any time."""
        ...

    async def close(self) -> None:
        """Finish what was begun, refuse the rest, let go of the database."""
        ...
