"""Handlers on Django's ORM: the event completes inside ``transaction.atomic()``, on Django's own connection.

::

    @app.on("stripe", "invoice.paid")
    @atomic
    def record(event: Event) -> None:
        Payment.objects.get_or_create(invoice=event.data["id"])
        event.publish("ledger", type="payment.recorded", data={"invoice": event.data["id"]})

What the handler writes, its messages and the event's completion commit together. Django must have been set up, and its
database must be the one that Surehook's setting ``database`` names.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, overload

import psycopg
from django.db import DEFAULT_DB_ALIAS, close_old_connections, connections, transaction

from surehook.errors import ConfigurationError, TransactionError
from surehook.handlers import CompletingHandler, Event, is_registered

Function = Callable[[Event], object]

logger = logging.getLogger(__name__)


class AtomicHandler(CompletingHandler):
    """What ``atomic`` makes of a function. Called by itself, in a test, it runs the function in an atomic block."""

    def __init__(self, function: Function, using: str) -> None:
        self._function = function
        self._using = using
        functools.update_wrapper(self, function)

    def __call__(self, event: Event) -> None:
        with transaction.atomic(using=self._using):
            self._function(event)

    def run(self, event: Event, complete: Callable[[object, Any], None]) -> None:
        """CompletingHandler.run. Raises TransactionError when Django did not commit, or cannot."""
        close_old_connections()  # one that broke meanwhile is replaced
        try:
            self._run(event, complete)
        finally:
            close_old_connections()

    def _run(self, event: Event, complete: Callable[[object, Any], None]) -> None:
        committed: list[bool] = []
        _require_postgresql(self._using)
        try:
            with transaction.atomic(using=self._using, durable=True):
                transaction.on_commit(lambda: committed.append(True), using=self._using)
                result = self._function(event)
                complete(result, self._sound_connection())
        except Exception:
            if not committed:
                raise
            logger.exception("a hook of transaction.on_commit failed; the event was completed before it")
        if not committed:
            raise TransactionError(
                "Django did not commit: the handler called set_rollback(True), or DATABASES has AUTOCOMMIT off. Raise an "
                "exception to undo what a handler wrote"
            )

    def _sound_connection(self) -> psycopg.Connection[Any]:
        connection = connections[self._using]
        if connection.needs_rollback:
            raise TransactionError(
                "a statement failed and its error was caught, or set_rollback(True) was called: Django undoes the whole "
                "transaction then. Put what may fail into a 'with transaction.atomic():' of its own (a savepoint)"
            )
        driver = connection.connection
        if not isinstance(driver, psycopg.Connection):
            raise TransactionError(
                "Django works with psycopg2 here: surehook.contrib.django needs psycopg 3, which Django takes when it is "
                "installed: pip install 'surehook[django]'"
            )
        return driver


@overload
def atomic(function: Function, /) -> AtomicHandler: ...


@overload
def atomic(*, using: str) -> Callable[[Function], AtomicHandler]: ...


def atomic(
    function: Function | None = None, /, *, using: str = DEFAULT_DB_ALIAS
) -> AtomicHandler | Callable[[Function], AtomicHandler]:
    """Decorates a ``def`` handler with the one parameter ``event``; stands below ``@app.on``.

    ``using`` names one of Django's DATABASES. Raises ConfigurationError for a function that cannot work so.
    """
    if function is None:
        return functools.partial(_decorated, using=using)
    return _decorated(function, using=using)


def _decorated(function: Function, *, using: str) -> AtomicHandler:
    name = function.__qualname__
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(
            f"@atomic: {name} is 'async def', but Django's transactions belong to one thread: write 'def'"
        )
    if list(inspect.signature(function).parameters) != ["event"]:
        raise ConfigurationError(
            f"@atomic: {name} must have the one parameter event: its transaction is Django's, so there is no tx. "
            "event.publish sends messages"
        )
    if is_registered(function):
        raise ConfigurationError(
            f"@atomic stands above @app.on at {name}, so it comes too late: write it below"
        )
    return AtomicHandler(function, using)


def _require_postgresql(using: str) -> None:
    connection = connections[using]
    if connection.vendor != "postgresql":
        raise TransactionError(
            f"DATABASES[{using!r}] has the ENGINE {connection.settings_dict['ENGINE']!r}: surehook.contrib.django needs "
            "'django.db.backends.postgresql', on the database that Surehook's setting database names"
        )
