"""The URLs of the database and the queue, references replaced by what they name."""

from __future__ import annotations

from collections.abc import Callable

from surehook.config import Settings, check_database, check_postgres, check_queue, is_reference
from surehook.errors import ConfigurationError
from surehook.wiring.parts import resolve_at


def database_url(settings: Settings) -> str:
    """Where the database is. Raises ConfigurationError when its reference leads nowhere, or to no URL of a database."""
    return _url("database", settings.database, check_database)


def queue_url(settings: Settings) -> str:
    """Where the queue is: ``database``, or a URL of Redis. Raises ConfigurationError as ``database_url`` does."""
    return _url("queue", settings.queue, check_queue)


def listen_url(settings: Settings) -> str | None:
    """Where PostgreSQL is reached past a transaction pooler, if that is set. Raises ConfigurationError."""
    value = settings.postgres.listen_url
    return None if value is None else _url("postgres.listen_url", value, check_postgres)


def _url(place: str, value: str, check: Callable[[str], None]) -> str:
    url = resolve_at(place, value).reveal() if is_reference(value) else value
    try:
        check(url)
    except ConfigurationError as error:
        named = f"{place} ({value})" if is_reference(value) else place
        raise ConfigurationError(f"{named}: {error}") from None
    return url
