"""The end of a transaction that several events share: all completions, all messages and the COMMIT, in two round trips."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import errors as pg

from surehook.errors import CommitUnknown, LeaseLost, SurehookError, TurnLost, Unavailable
from surehook.ids import EVENT_PREFIX, EventId, typeid
from surehook.model import Settlement
from surehook.storage import attempts
from surehook.storage.named import Call
from surehook.storage.postgres.connection import TRY_AGAIN, brief, faults, is_lost
from surehook.storage.postgres.habits import Habits
from surehook.storage.postgres.statements import Texts
from surehook.storage.postgres.wire import Command, Wire, own

_COMMIT: Final = own("COMMIT")

#: For a guest that is not alone. Not for the COMMIT: a synchronous standby would not be waited for.
LIMITS: Final = own(
    "SELECT set_config('lock_timeout', '100', true), set_config('statement_timeout', '1000', true)"
)
_NO_LIMITS: Final = (own("SET LOCAL lock_timeout TO DEFAULT"), own("SET LOCAL statement_timeout TO DEFAULT"))

#: A prepared statement keeps its plan, and one that was made while the table was empty would read all of it for ever.
PLANS: Final = {"enable_seqscan": "off"}
_PLANS: Final = own("SET LOCAL enable_seqscan = off")
_NO_PLANS: Final = own("SET LOCAL enable_seqscan TO DEFAULT")

LOST: Final = (
    "the transaction that the attempt shared with others was undone, and with it the attempt: it runs again, with a "
    "transaction of its own"
)


class Served:
    """One who is done with the transaction, and waits for the commit."""

    def __init__(self, kind: str, id: EventId, settlement: Settlement | None) -> None:
        self.kind = kind
        self.id = id
        self.settlement = settlement
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(self, error: Exception | None) -> None:
        """It is durable, or why it is not; the first word counts."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class SharedCommit:
    """Who waits for the commit of one transaction, and that commit."""

    def __init__(self, wire: Wire, texts: Texts, habits: Habits) -> None:
        self._wire = wire
        self._texts = texts
        self._habits = habits
        self._served: list[Served] = []
        #: It has begun: who loses the connection now does not know what became of it.
        self._committing = False
        #: What was done is not durable, or nobody knows.
        self.undone = False

    def __bool__(self) -> bool:
        return bool(self._served)

    def add(self, served: Served) -> asyncio.Future[None]:
        """Commit this as well; the future tells when that is done."""
        self._served.append(served)
        return served.done

    async def run(self, before: Sequence[Command], *, limited: bool) -> None:
        """Do it, and tell everybody. ``before`` is sent first; ``limited``: the limits are set."""
        try:
            await self._run(before, limited)
        except psycopg.Error as error:
            self.undone = True
            self._fail(error)
        except BaseException as error:
            self.undone = True
            self._tell(CommitUnknown(f"the commit was broken off: {brief(error)}"))
            raise

    def lose(self) -> None:
        """The transaction is undone, and nobody knows because of whom: the next attempts will show it."""
        self.undone = bool(self._served)
        for each in self._served:
            if not each.done.done():
                self._habits.saw_loss(each.id)
                each.tell(TurnLost(LOST))

    async def _run(self, before: Sequence[Command], limited: bool) -> None:
        settled = [each.settlement for each in self._served if each.settlement is not None]
        calls, more = attempts.completions(settled)
        results = await self._wire.run([*before, _PLANS, *self._commands(calls)])
        counts = [result.command_tuples for result in results[len(before) + 1 :]]
        if not all(counts):
            self._refuse(counts)
            return
        self._committing = True
        limits = _NO_LIMITS if limited else ()
        *_, commit = await self._wire.run([*self._commands(more), *limits, _NO_PLANS, _COMMIT])
        if commit.command_status != b"COMMIT":
            raise pg.TransactionRollback("the transaction was rolled back instead of being committed")
        self._tell(None)

    def _commands(self, calls: Sequence[Call]) -> list[Command]:
        texts = self._texts
        return [own(texts[name].sql, [values[each] for each in texts[name].names]) for name, values in calls]

    def _refuse(self, counts: Sequence[int | None]) -> None:
        """Some leases are lost, and what was done under them cannot be taken out."""
        settled = [each for each in self._served if each.settlement is not None]
        for each, count in zip(sorted(settled, key=lambda one: one.id), counts, strict=True):
            if not count:
                each.tell(LeaseLost(f"{typeid(EVENT_PREFIX, each.id)} is no longer held by this worker"))
        self.lose()

    def _fail(self, error: psycopg.Error) -> None:
        if self._committing and is_lost(error, self._wire.connection):
            self._tell(CommitUnknown(f"PostgreSQL did not confirm the commit: {brief(error)}"))
        elif len(self._served) == 1:
            [served] = self._served
            if not isinstance(error, TRY_AGAIN):
                self._habits.saw_harm(served.kind)
            served.tell(_meaning(error))
        else:
            self.lose()

    def _tell(self, error: SurehookError | None) -> None:
        for each in self._served:
            each.tell(error)


def _meaning(error: psycopg.Error) -> Exception:
    """What the failed end of a transaction means for the only one whose it was."""
    if isinstance(error, TRY_AGAIN):
        return TurnLost(f"PostgreSQL undid the transaction because of another one: {brief(error)}")
    try:
        with faults("PostgreSQL cannot write the completion"):
            raise error
    except (Unavailable, psycopg.Error) as meant:
        return meant
