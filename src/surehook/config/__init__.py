"""Settings and where they come from: defaults < ``surehook.toml`` < environment < flags."""

from __future__ import annotations

from surehook.config.hiding import without_password
from surehook.config.loading import Examination, Loaded, Source, examine, load
from surehook.config.settings import (
    MIB,
    ConsoleSettings,
    DestinationSettings,
    ForwardRule,
    HandlerSettings,
    PostgresSettings,
    ProviderSettings,
    RedisSettings,
    RejectionSettings,
    ServerSettings,
    Settings,
)
from surehook.config.showing import Shown, show
from surehook.config.sources import is_empty
from surehook.config.stores import (
    check_database,
    check_postgres,
    check_queue,
    database_path,
    is_postgres,
    is_reference,
)

__all__ = [
    "MIB",
    "ConsoleSettings",
    "DestinationSettings",
    "Examination",
    "ForwardRule",
    "HandlerSettings",
    "Loaded",
    "PostgresSettings",
    "ProviderSettings",
    "RedisSettings",
    "RejectionSettings",
    "ServerSettings",
    "Settings",
    "Shown",
    "Source",
    "check_database",
    "check_postgres",
    "check_queue",
    "database_path",
    "examine",
    "is_empty",
    "is_postgres",
    "is_reference",
    "load",
    "show",
    "without_password",
]
