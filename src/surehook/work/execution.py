"""One attempt: the handlers of one event, run under their timeouts, and what came of it as a value."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from surehook.clock import Clock, Millis
from surehook.deadlines import Deadlines
from surehook.errors import LeaseLost, Reject, Retry, TransactionError, TurnLost
from surehook.handlers import CompletingHandler, Event, Handler
from surehook.handlers.transaction import Transaction, sync_transaction_of, within
from surehook.model import Failure, Settlement
from surehook.outbox import MessageBuffer
from surehook.retry import RetryPolicy
from surehook.storage import UnitOfWork
from surehook.work.threads import HandlerThreads

_OWN_CODE = str(Path(__file__).parent.parent)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class Attempt(msgspec.Struct, frozen=True):
    """What the handlers of one event work with."""

    event: Event
    unit: UnitOfWork
    messages: MessageBuffer
    #: Makes the settlement of the completion, with all that was published until then; called in a thread, too.
    settlement: Callable[[], Settlement]
    #: When it began.
    started: Millis


class Completed(msgspec.Struct, frozen=True):
    """Every handler has returned."""

    #: What the last one has committed by itself; None: the completion is still to be written.
    settlement: Settlement | None = None


class RetryAt(msgspec.Struct, frozen=True):
    """A handler asked for another attempt, after so many milliseconds if it said so."""

    failure: Failure
    policy: RetryPolicy | None
    wish: int | None


class Rejected(msgspec.Struct, frozen=True):
    """A handler said that no attempt will ever succeed."""

    failure: Failure


class Crashed(msgspec.Struct, frozen=True):
    """A handler failed in a way it did not plan."""

    failure: Failure
    policy: RetryPolicy | None


Failed = RetryAt | Rejected | Crashed
Outcome = Completed | Failed


class HandlerTimeout(Exception):
    """The handler did not return within its timeout."""


class Execution:
    """Runs the handlers of one event, one after another, as one attempt."""

    def __init__(self, threads: HandlerThreads, clock: Clock, *, timeout: int, worker: str) -> None:
        self._threads = threads
        self._clock = clock
        self._timeout = timeout
        self._worker = worker
        #: For each timeout that some handler has.
        self._deadlines: dict[int, Deadlines] = {}

    def close(self) -> None:
        """Give the timers back, when nothing runs any more."""
        for deadlines in self._deadlines.values():
            deadlines.close()

    async def run(self, attempt: Attempt, handlers: Sequence[Handler]) -> Outcome:
        """The outcome; never raises but for the cancellation of its caller, LeaseLost, and TurnLost.

        LeaseLost comes from a handler that wanted to commit the completion by itself, TurnLost from a statement that could
        not run because of what others do at the moment.
        """
        started, settlement = attempt.started, None
        for handler in handlers:
            try:
                _require_last(handlers)
                settlement = await self._call(handler, attempt)
            except (LeaseLost, TurnLost):
                raise
            except Retry as error:
                wish = None if error.after is None else round(error.after * 1000)
                return RetryAt(self.failure(error, started), handler.retries, wish)
            except Reject as error:
                return Rejected(self.failure(error, started))
            except asyncio.CancelledError as error:
                if _is_cancelled():
                    raise
                return Crashed(self.failure(error, started), handler.retries)
            except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends its attempt, not the worker
                return Crashed(self.failure(error, started), handler.retries)
        return Completed(settlement)

    def failure(self, error: BaseException, started: Millis) -> Failure:
        """A failed attempt's row."""
        return Failure(
            error_type=_name(error),
            message=_clean(str(error) or type(error).__name__),
            detail=_clean("".join(traceback.format_exception(error))),
            fingerprint=fingerprint(error),
            started_at=started,
            failed_at=self._clock.now(),
            worker=self._worker,
        )

    async def _call(self, handler: Handler, attempt: Attempt) -> Settlement | None:
        timeout = self._timeout if handler.timeout is None else handler.timeout
        deadline = self._deadlines_of(timeout).begin()
        # the transaction's budget is used up: nothing that the attempt does can be kept any more
        attempt.unit.on_expired(deadline.end)
        try:
            with deadline:
                return await self._invoke(handler, attempt)
        except TimeoutError as error:
            if deadline.ended:
                await attempt.unit.execute("SELECT 1")  # raises the error that says why
            if deadline.expired:
                raise HandlerTimeout(f"{handler.name} did not return within {timeout} ms") from error
            raise

    def _deadlines_of(self, timeout: int) -> Deadlines:
        if timeout not in self._deadlines:
            self._deadlines[timeout] = Deadlines(timeout / 1000)
        return self._deadlines[timeout]

    async def _invoke(self, handler: Handler, attempt: Attempt) -> Settlement | None:
        """Run it, wherever it runs. A handler that commits the completion itself leaves the settlement."""
        if handler.completing is not None:
            written: Settlement = await self._threads.run(
                _complete_inside, handler, handler.completing, attempt
            )
            return written
        if not handler.is_async:
            _refuse_result(handler, await self._threads.run(_call_in_thread, handler, attempt))
        elif handler.wants_transaction:
            tx = Transaction(attempt.unit, attempt.messages)
            _refuse_result(handler, await within(tx, handler.function(attempt.event, tx)))
        else:
            _refuse_result(handler, await handler.function(attempt.event))
        return None


def _call_in_thread(handler: Handler, attempt: Attempt) -> object:
    if not handler.wants_transaction:
        return handler.function(attempt.event)
    with sync_transaction_of(attempt.unit, attempt.messages) as tx:
        return handler.function(attempt.event, tx)


def _complete_inside(handler: Handler, function: CompletingHandler, attempt: Attempt) -> Settlement:
    if attempt.unit.opened:
        raise TransactionError(
            f"{handler.name} completes the event in a transaction of its own, but a handler before it has written "
            "through tx: use one or the other for an event"
        )
    written: list[Settlement] = []

    def complete(result: object, connection: Any) -> None:
        _refuse_result(handler, result)
        settlement = attempt.settlement()
        attempt.unit.complete_on(connection, settlement)
        written.append(settlement)

    function.run(attempt.event, complete)
    return written[-1]


def _require_last(handlers: Sequence[Handler]) -> None:
    """Nothing may run after a handler that has committed the event's completion."""
    for handler, following in pairwise(handlers):
        if handler.completing is not None:
            raise TransactionError(
                f"{handler.name} completes the event in a transaction of its own, so it must be the last of the event's "
                f"handlers: define it after {following.name}"
            )


def _refuse_result(handler: Handler, result: object) -> None:
    """What a handler returns means nothing; two kinds of result show that something else was meant."""
    if result is None:
        return
    if isinstance(result, BaseException):
        raise TypeError(f"{handler.name} returned {result!r}: raise it")
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(
            f"{handler.name} returned something to be awaited: make it 'async def' and await it there"
        )


def _is_cancelled() -> bool:
    """Whether our caller cancelled us; a handler can also raise CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _clean(text: str) -> str:
    """What a database can hold: lone surrogates (of undecodable file names, say) as escapes, no NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def fingerprint(error: BaseException) -> str:
    """Equal for the same type of error from the same function of the user's code: 16 hex digits.

    The line number is left out, so that a failure group survives an edit above it.
    """
    place = (
        str(error) if isinstance(error, HandlerTimeout | TransactionError) else _place(error.__traceback__)
    )
    return hashlib.sha256(f"{_name(error)}\n{place}".encode()).hexdigest()[:16]


def _place(trace: TracebackType | None) -> str:
    """The innermost frame of the user's own code."""
    place = ""
    for frame in traceback.extract_tb(trace):
        inside = frame.filename.startswith((_OWN_CODE, *_LIBRARIES, "<"))
        if not inside:
            place = f"{Path(frame.filename).name}:{frame.name}"
    return place
