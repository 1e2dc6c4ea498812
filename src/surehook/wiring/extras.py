"""Optional libraries: imported when the settings ask for them, explained when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Final

from surehook.config import is_postgres
from surehook.errors import ConfigurationError

#: What each extra installs.
LIBRARIES: Final = {"postgres": ("psycopg", "psycopg_pool"), "redis": ("redis",)}


def import_extra(module: str, what: str, extra: str) -> ModuleType:
    """A module that needs the libraries of an extra; ``what`` names the setting that asks for it.

    Raises ConfigurationError when they are not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        if missing and (error.name or "").partition(".")[0] not in LIBRARIES[extra]:
            raise  # a mistake of our own
        why = "" if missing else f". It is installed, but cannot be loaded: {error}"
        raise ConfigurationError(f"{what} needs the extra: pip install 'surehook[{extra}]'{why}") from error


def require_database_extra(url: str) -> None:
    """Raises ConfigurationError when the libraries for a database's URL cannot be imported."""
    if is_postgres(url):
        for library in LIBRARIES["postgres"]:
            import_extra(library, "database: postgresql://", "postgres")


def require_queue_extra(url: str) -> None:
    """Raises ConfigurationError when the libraries for a queue's URL cannot be imported."""
    if url != "database":
        for library in LIBRARIES["redis"]:
            import_extra(library, f"queue: {url.partition('://')[0]}://", "redis")
