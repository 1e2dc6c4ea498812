"""The application, the providers and the destinations that the settings name."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from surehook.clock import Clock
from surehook.config import DestinationSettings, Settings
from surehook.errors import ConfigurationError, SurehookError, did_you_mean
from surehook.handlers import Registry
from surehook.ingest.packs import Provider, build_provider
from surehook.publish.http import HttpTransport
from surehook.publish.lane import Route
from surehook.retry import RetryPolicy
from surehook.secrets import resolve

logger = logging.getLogger(__name__)


def load_app(settings: Settings) -> Registry:
    """The application that ``app`` names, or an empty one.

    Raises ConfigurationError when it cannot be imported or is no App.
    """
    if settings.app is None:
        return Registry()
    module_name, _, attribute = settings.app.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except SurehookError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"app = {settings.app!r} cannot be imported from {here}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Registry):
        raise ConfigurationError(f"app = {settings.app!r} is a {type(found).__name__}, not a surehook.App")
    return found


def build_providers(settings: Settings) -> Mapping[str, Provider]:
    """The configured providers. Raises ConfigurationError for what cannot work."""
    return {
        name: build_provider(name, each, resolve, settings.server.max_body)
        for name, each in settings.providers.items()
    }


def build_routes(settings: Settings, clock: Clock) -> list[Route]:
    """The configured destinations with their transports. Raises ConfigurationError for what cannot work."""
    return [build_route(name, each, clock) for name, each in settings.destinations.items()]


def build_route(name: str, settings: DestinationSettings, clock: Clock) -> Route:
    """One destination; nothing is connected. Raises ConfigurationError for what cannot work."""
    try:
        secrets = [resolve(secret) for secret in settings.secrets]
        transport = HttpTransport(name, settings, secrets, clock)
    except ConfigurationError as error:
        where = f"destinations.{name}"
        raise ConfigurationError(str(error) if where in str(error) else f"{where}: {error}") from None
    return Route(name, transport, RetryPolicy(settings.retries), settings.concurrency)


def process_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def warn_of_unknown(settings: Settings, registry: Registry) -> None:
    """Log what is probably a slip of the pen: a handler for a provider that is not configured."""
    for handler in registry.handlers:
        if handler.provider != "*" and handler.provider not in settings.providers:
            hint = did_you_mean(handler.provider, settings.providers)
            logger.warning(
                "%s is for the provider %r, which is not configured. %s", handler.name, handler.provider, hint
            )
