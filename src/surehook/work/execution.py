"""One attempt: the handlers of one event, run under their timeouts, and what came of it as a value."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from surehook.clock import Clock, Millis
from surehook.errors import Reject, Retry, TransactionError
from surehook.handlers import Event, Handler, SyncTransaction, Transaction
from surehook.model import Failure
from surehook.outbox import MessageBuffer
from surehook.retry import RetryPolicy
from surehook.storage import UnitOfWork
from surehook.work.threads import HandlerThreads

_OWN_CODE = str(Path(__file__).parent.parent)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class Completed(msgspec.Struct, frozen=True):
    """Every handler has returned."""


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


Outcome = Completed | RetryAt | Rejected | Crashed


class HandlerTimeout(Exception):
    """The handler did not return within its timeout."""


class Execution:
    """Runs the handlers of one event, one after another, as one attempt."""

    def __init__(self, threads: HandlerThreads, clock: Clock, *, timeout: int, worker: str) -> None:
        self._threads = threads
        self._clock = clock
        self._timeout = timeout
        self._worker = worker

    async def run(
        self, event: Event, handlers: Sequence[Handler], unit: UnitOfWork, messages: MessageBuffer
    ) -> Outcome:
        """The outcome; never raises but for the cancellation of its caller."""
        started = self._clock.now()
        for handler in handlers:
            try:
                await self._call(handler, event, unit, messages)
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
        return Completed()

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

    async def _call(self, handler: Handler, event: Event, unit: UnitOfWork, messages: MessageBuffer) -> None:
        timeout = self._timeout if handler.timeout is None else handler.timeout
        expired = asyncio.Event()
        try:
            async with asyncio.timeout(timeout / 1000) as limit:

                def end_attempt() -> None:
                    """The transaction's budget is used up: nothing that the attempt does can be kept any more."""
                    expired.set()
                    with contextlib.suppress(RuntimeError):  # the handler has just returned
                        limit.reschedule(0)

                unit.on_expired(end_attempt)
                await self._invoke(handler, event, unit, messages)
        except TimeoutError as error:
            if expired.is_set():
                await unit.execute("SELECT 1")  # raises the error that says why
            if limit.expired():
                raise HandlerTimeout(f"{handler.name} did not return within {timeout} ms") from error
            raise

    async def _invoke(
        self, handler: Handler, event: Event, unit: UnitOfWork, messages: MessageBuffer
    ) -> None:
        if not handler.is_async:
            blocking = (SyncTransaction(unit, messages),) if handler.wants_transaction else ()
            _refuse_result(handler, await self._threads.run(handler.function, event, *blocking))
        elif handler.wants_transaction:
            tx = Transaction(unit, messages)
            _refuse_result(handler, await handler.function(event, tx))
            tx.require_awaited()
        else:
            _refuse_result(handler, await handler.function(event))


def _refuse_result(handler: Handler, result: object) -> None:
    """What a handler returns means nothing; two kinds of result show that something else was meant."""
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
