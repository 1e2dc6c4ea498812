"""The application, the providers and the destinations that the settings name."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping

import msgspec

from surehook.clock import Clock
from surehook.config import DestinationSettings, Settings
from surehook.errors import ConfigurationError, did_you_mean
from surehook.handlers import Registry
from surehook.packs import Provider, build_provider
from surehook.publish.http import HttpTransport, check_headers
from surehook.publish.lane import Route
from surehook.retry import RetryPolicy
from surehook.secrets import Secret, resolve
from surehook.wiring.keys import key_fetcher

logger = logging.getLogger(__name__)


def build_providers(settings: Settings) -> Mapping[str, Provider]:
    """The configured providers. Raises ConfigurationError for what cannot work."""
    fetch = key_fetcher()
    return {
        name: build_provider(name, each, resolve, settings.server, fetch)
        for name, each in settings.providers.items()
    }


def build_routes(settings: Settings, clock: Clock) -> list[Route]:
    """The configured destinations with their transports. Raises ConfigurationError for what cannot work."""
    return [build_route(name, each, clock) for name, each in settings.destinations.items()]


def build_route(name: str, settings: DestinationSettings, clock: Clock) -> Route:
    """One destination; nothing is connected. Raises ConfigurationError for what cannot work."""
    secrets = [resolve_at(f"destinations.{name}.secrets", secret) for secret in settings.secrets]
    final = msgspec.structs.replace(settings, headers=build_headers(name, settings.headers))
    transport = HttpTransport(name, final, secrets, clock)
    return Route(name, transport, RetryPolicy(settings.retries), settings.concurrency)


def build_headers(name: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    """A destination's extra headers, references (``env:NAME``, ``file:PATH``) replaced by what they name.

    Raises ConfigurationError for a reference that leads nowhere and for a header that deliveries cannot carry.
    """
    return check_headers(name, {each: _header_value(name, each, value) for each, value in headers.items()})


def _header_value(name: str, header: str, value: str) -> str:
    place = f"destinations.{name}.headers.{header!r}"
    if re.match("env:|file:", value):
        return resolve_at(place, value).reveal()
    if re.search(r"\s(env:[A-Z_][A-Z0-9_]*|file:\S+)$", value):
        raise ConfigurationError(
            f"{place}: a reference is the whole value: put what stands before it into the variable or file as well"
        )
    return value


def resolve_at(place: str, reference: str) -> Secret:
    """The secret of a setting. Raises ConfigurationError that names the setting."""
    try:
        return resolve(reference)
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error}") from None


def process_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def warnings_of(settings: Settings, registry: Registry) -> Iterator[str]:
    """What works, but is probably not what is meant."""
    for handler in registry.handlers:
        if handler.provider != "*" and handler.provider not in settings.providers:
            hint = did_you_mean(handler.provider, settings.providers)
            yield f"{handler.name} is for the provider {handler.provider!r}, which is not configured. {hint}"
    for name, destination in settings.destinations.items():
        if not destination.secrets:
            yield (
                f"destinations.{name}: its deliveries are not signed, so its receiver cannot tell who sends them. "
                "Set secrets to sign them."
            )


def warn(settings: Settings, registry: Registry) -> None:
    """Log ``warnings_of``."""
    for text in warnings_of(settings, registry):
        logger.warning("%s", text, extra={"event": "config.warning"})
