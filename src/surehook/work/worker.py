"""The worker: claim, run, settle; with leases that are kept alive and a stop that gives back what it cannot finish."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from surehook.clock import Clock, Millis
from surehook.config import ForwardRule, HandlerSettings
from surehook.errors import LeaseLost, TurnLost, Unavailable
from surehook.grouping import GroupCommit
from surehook.handlers import Event, Registry
from surehook.ids import EVENT_PREFIX, EventId, typeid
from surehook.model import Claim, NewMessage, Settlement
from surehook.outbox import MessageBuffer, Outbox, applies
from surehook.queue import Queue
from surehook.retry import RetryPolicy
from surehook.states import EventState
from surehook.storage import Reader, Storage
from surehook.telemetry import describe, trace_id_of
from surehook.work.execution import Attempt, Completed, Crashed, Execution, Failed
from surehook.work.settling import abandoned, log_failure, settlement_of, undone
from surehook.work.threads import HandlerThreads
from surehook.work.turns import LostTurns

logger = logging.getLogger(__name__)

#: More than this are not claimed at once: a claim costs about 10 us a row, and everyone waits for it.
CLAIM_BATCH = 60

#: Wait after the database refused a claim or a settlement, in seconds.
_PAUSE = 0.2

#: How long a busy worker waits for half of its slots to be free, in seconds.
_GATHER = 0.005

#: Why an attempt that has failed says nothing.
_UNSOUND = "what it saw of others, with which it shared a transaction, was undone: it may have failed because of that"

#: How long a stop waits for handlers that have been cancelled, in seconds. One that swallows it is left behind.
_PATIENCE = 5


class Tools(msgspec.Struct, frozen=True):
    """What a worker works with."""

    storage: Storage
    reader: Reader
    queue: Queue
    registry: Registry
    outbox: Outbox
    forwards: tuple[ForwardRule, ...]
    clock: Clock
    settings: HandlerSettings
    #: Names this worker in failures.
    name: str


@dataclass(eq=False)
class Run:
    """An attempt in progress."""

    claim: Claim
    task: asyncio.Task[None] | None = None
    #: Its end is being written: its lease may be gone because it is settled.
    ending: bool = False
    #: Another worker has the event; nothing may be written.
    lost: bool = False

    def lose(self) -> None:
        """Stop it; the database would refuse its end anyway."""
        self.lost = True
        if self.task is not None:
            self.task.cancel()


class Worker:
    """Runs handlers for due events, up to ``concurrency`` at once."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._settings = tools.settings
        self._policy = RetryPolicy(tools.settings.retries)
        self.threads = HandlerThreads(tools.settings.threads)
        self._execution = Execution(
            self.threads, tools.clock, timeout=tools.settings.timeout, worker=tools.name
        )
        self._settlements = GroupCommit(tools.storage.settle)
        # by id and token: after a suspension this worker can hold an event while an older attempt still runs
        self._running: dict[tuple[EventId, int], Run] = {}
        self._turns = LostTurns()
        self._freed = asyncio.Event()
        #: So many must be free for ``_freed``.
        self._wanted = 1
        #: When the database is asked next for what is due, by the loop's clock.
        self._poll_at = 0.0
        #: The last time it was asked, it had all that was wanted.
        self._backlog = False
        self._stopping = False
        #: The time for the drain is over: what is still claimed is given back.
        self._breaking_off = False
        self._loop: asyncio.Task[None] | None = None
        self._news: asyncio.Task[Sequence[EventId] | None] | None = None

    def start(self) -> None:
        """Begin to claim."""
        self._loop = asyncio.create_task(self._claim_and_run())

    async def stop(self, drain_timeout: int) -> None:
        """Stop claiming, let what runs finish within ``drain_timeout`` ms, then give the rest back uncounted."""
        self._stopping = True
        self._freed.set()
        if self._news is not None:
            self._news.cancel()
        for patience in (drain_timeout / 1000, _PATIENCE):
            await self._wait_for_the_end(patience)
            self._breaking_off = True
            await asyncio.sleep(0)  # what is cancelled before its first step could give nothing back
            for run in self._running.values():
                if run.task is not None:
                    run.task.cancel()
        if self._running:
            logger.error("%d handlers ignore their cancellation and are left behind", len(self._running))
        await self._settlements.drain()
        self._execution.close()
        self.threads.close()

    async def _wait_for_the_end(self, seconds: float) -> None:
        """Of the last claim, which on SQLite can wait for a handler's transaction, and of all that runs."""
        until = asyncio.get_running_loop().time() + seconds
        while tasks := self._unfinished():
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                return
            await asyncio.wait(tasks, timeout=left)

    def _unfinished(self) -> list[asyncio.Task[None]]:
        tasks = [self._loop, *(run.task for run in self._running.values())]
        return [task for task in tasks if task is not None and not task.done()]

    async def heartbeat(self) -> None:
        """Prolong the leases of what runs; an attempt whose lease is lost is stopped."""
        claims = [run.claim for run in self._running.values() if not run.lost]
        if not claims:
            return
        lease_until = Millis(self._tools.clock.now() + self._settings.lease)
        lost = set(await self._tools.storage.extend(claims, lease_until))
        for run in list(self._running.values()):
            if run.claim.id in lost and run.claim in claims and not run.ending:
                run.lose()

    async def _claim_and_run(self) -> None:
        while not self._stopping:
            try:
                await self._step()
            except Exception:
                logger.exception("claiming failed", extra={"event": "worker.claim_failed"})
                await asyncio.sleep(_PAUSE)

    async def _step(self) -> None:
        limit = min(await self._room(), CLAIM_BATCH)
        if self._stopping:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._poll_at:
            # the database knows what no queue announces: retries whose time has come, and announcements that were lost
            self._backlog = await self._claim(limit, None) == limit
            self._poll_at = loop.time() + self._settings.poll / 1000
            return
        # behind a backlog the queue is only asked for what it has; it has nothing: the database has more
        ids = await self._wait_for_news(limit, 0 if self._backlog else self._poll_at - loop.time())
        if ids is None:
            self._poll_at = 0.0
        elif not self._stopping:
            await self._claim(limit, ids)

    async def _room(self) -> int:
        """How many may be claimed: at least one, and behind a backlog not each as soon as another ends.

        A claim and its commit cost about the same for one event as for many.
        """
        await self._until_free(1, None)
        half = self._settings.concurrency // 2
        if self._free() < half:
            await self._until_free(half, _GATHER)
        return self._free()

    def _free(self) -> int:
        return self._settings.concurrency - len(self._running)

    async def _until_free(self, wanted: int, patience: float | None) -> None:
        if self._free() >= wanted or self._stopping:
            return
        self._wanted = wanted
        self._freed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._freed.wait()

    async def _wait_for_news(self, limit: int, wait: float) -> Sequence[EventId] | None:
        self._news = asyncio.create_task(self._next(limit, wait))
        await asyncio.wait([self._news])
        return () if self._news.cancelled() else self._news.result()

    async def _next(self, limit: int, wait: float) -> Sequence[EventId] | None:
        return await self._tools.queue.next(limit, wait)

    async def _claim(self, limit: int, only: Sequence[EventId] | None) -> int:
        now = self._tools.clock.now()
        lease_until = Millis(now + self._settings.lease)
        claims = await self._tools.storage.claim(limit, now, lease_until, only)
        for claim in claims:
            for older in [run for (id, _), run in self._running.items() if id == claim.id]:
                older.lose()
            run = self._running[claim.id, claim.token] = Run(claim)
            run.task = asyncio.create_task(self._work_on(run))
        return len(claims)

    async def _work_on(self, run: Run) -> None:
        claim = run.claim
        describe(partial(_fields_of, claim))  # the task has a context of its own
        try:
            await (self._abandon(run) if self._breaking_off else self._attempt(run))
        except asyncio.CancelledError:
            await self._abandon(run)
        except Exception:
            logger.exception("an attempt could not be settled", extra={"event": "worker.unsettled"})
        finally:
            del self._running[claim.id, claim.token]
            if self._free() >= self._wanted:
                self._freed.set()

    async def _abandon(self, run: Run) -> None:
        """The attempt was cancelled: give the event back, unless it is no longer ours."""
        claim = run.claim
        if run.lost:
            logger.warning(
                "the lease was lost; the attempt was stopped", extra={"event": "worker.lease_lost"}
            )
            return
        try:
            await self._settlements.put(abandoned(claim, self._tools.clock.now()))
        except Unavailable as error:
            logger.warning("not given back, so its lease must end first: %s", error)

    async def _attempt(self, run: Run) -> None:
        tools, claim = self._tools, run.claim
        handlers = tools.registry.handlers_for(claim.provider, claim.topic, claim.type)
        messages = tools.outbox.collect(claim.traceparent)
        started = tools.clock.now()
        unit = tools.storage.begin(claim)
        try:
            body = claim.body if claim.body is not None else await self._large_body(claim)
            event = Event(claim, body, messages)
            settlement = partial(self._completion, run, event, messages, bool(handlers))
            attempt = Attempt(event, unit, messages, settlement, started)
            outcome = await self._execution.run(attempt, handlers)
            if isinstance(outcome, Completed):
                await self._complete(run, attempt, outcome.settlement)
                self._turns.end(claim.id)
                return
        except LeaseLost:
            logger.warning("the lease was lost before the completion", extra={"event": "worker.lease_lost"})
            return
        except TurnLost as error:
            await unit.rollback()
            if await self._repeat(run, error):
                return
            outcome = Crashed(self._execution.failure(error, started), None)
        except Exception as error:  # noqa: BLE001 - whatever kept the completion from being written failed the attempt
            outcome = Crashed(self._execution.failure(error, started), None)
        finally:
            sound = await unit.rollback()
        if sound or not await self._repeat(run, TurnLost(_UNSOUND)):
            self._turns.end(claim.id)
            await self._settle_failure(run, outcome)

    async def _repeat(self, run: Run, error: TurnLost) -> bool:
        """Let an attempt that others have undone run again, uncounted; False: that was done too often."""
        if not self._turns.lose(run.claim.id):
            return False
        logger.warning("the attempt runs again: %s", error, extra={"event": "worker.turn_lost"})
        await self._persist(run, undone(run.claim, self._tools.clock.now()))
        return True

    async def _large_body(self, claim: Claim) -> bytes:
        try:
            payload = await self._tools.reader.payload(claim.payload_id)
        except Unavailable as error:
            raise TurnLost(f"the body could not be read: {error}") from error
        if payload is None:
            raise Unavailable(
                "the event's payload is gone: only retention removes it, and never before the event is done"
            )
        return payload.body

    async def _complete(self, run: Run, attempt: Attempt, written: Settlement | None) -> None:
        """Write the completion, if no handler has. Raises LeaseLost, or why it could not be written."""
        settlement = written or attempt.settlement()
        if written is None:
            if attempt.unit.opened:
                await attempt.unit.complete(settlement)
            elif not await self._persist(run, settlement):
                raise LeaseLost("another worker holds the event")
        if settlement.messages:
            self._tools.queue.announce_messages(
                frozenset(message.destination for message in settlement.messages)
            )
        if logger.isEnabledFor(logging.DEBUG):
            state = settlement.state.lower()
            logger.debug("event %s", state, extra={"event": f"worker.{state}"})

    def _completion(self, run: Run, event: Event, messages: MessageBuffer, handled: bool) -> Settlement:
        """What is to be written when every handler has returned; from now on its lease may end because it is settled."""
        run.ending = True
        claim = run.claim
        published = messages.messages + self._forwarded(claim, event)
        now = self._tools.clock.now()
        settlement = Settlement(claim.id, claim.token, EventState.PROCESSED, now, published)
        if handled or published:
            return settlement
        return msgspec.structs.replace(settlement, state=EventState.IGNORED)

    def _forwarded(self, claim: Claim, event: Event) -> tuple[NewMessage, ...]:
        # a body that no rule asks for need not be JSON
        if not self._tools.forwards:
            return ()
        rules = [rule for rule in self._tools.forwards if applies(rule, claim)]
        return self._tools.outbox.forwarded(rules, claim, event.data) if rules else ()

    async def _settle_failure(self, run: Run, outcome: Failed) -> None:
        claim = run.claim
        settlement = settlement_of(claim, outcome, self._policy, self._tools.clock.now())
        log_failure(claim, settlement, outcome.failure)
        if not await self._persist(run, settlement):
            logger.warning(
                "the lease was lost; the failure is not recorded", extra={"event": "worker.lease_lost"}
            )

    async def _persist(self, run: Run, settlement: Settlement) -> bool:
        """Settle, again and again while the database cannot: the handler has run, only its end is missing.

        After the lease has expired somebody else runs the event again, and the token refuses what comes late.
        """
        run.ending = True
        give_up = settlement.at + self._settings.lease
        while True:
            try:
                return await self._settlements.put(settlement)
            except Unavailable:
                if self._tools.clock.now() > give_up:
                    raise
                await asyncio.sleep(_PAUSE)


def _fields_of(claim: Claim) -> dict[str, object]:
    """What every line of an attempt's log carries."""
    return {
        "event_id": typeid(EVENT_PREFIX, claim.id),
        "provider": claim.provider,
        "external_id": claim.external_id,
        "type": claim.type,
        "attempt": claim.attempt,
        "trace_id": trace_id_of(claim.traceparent),
    }
