"""Settings and where they come from: defaults < ``surehook.toml`` < environment < flags."""

from __future__ import annotations

from surehook.config.loading import Examination, Loaded, Source, examine, load
from surehook.config.rules import database_path
from surehook.config.settings import (
    MIB,
    ConsoleSettings,
    DestinationSettings,
    ForwardRule,
    HandlerSettings,
    ProviderSettings,
    RejectionSettings,
    ServerSettings,
    Settings,
)
from surehook.config.showing import Shown, show
from surehook.config.sources import is_empty

__all__ = [
    "MIB",
    "ConsoleSettings",
    "DestinationSettings",
    "Examination",
    "ForwardRule",
    "HandlerSettings",
    "Loaded",
    "ProviderSettings",
    "RejectionSettings",
    "ServerSettings",
    "Settings",
    "Shown",
    "Source",
    "database_path",
    "examine",
    "is_empty",
    "load",
    "show",
]
