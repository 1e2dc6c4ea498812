"""Settings and where they come from: defaults < ``surehook.toml`` < environment < flags."""

from __future__ import annotations

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

__all__ = [
    "MIB",
    "ConsoleSettings",
    "DestinationSettings",
    "ForwardRule",
    "HandlerSettings",
    "ProviderSettings",
    "RejectionSettings",
    "ServerSettings",
    "Settings",
]
