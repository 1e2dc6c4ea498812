"""Requests and providers for the tests of signatures and packs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surehook.clock import Millis
from surehook.config import ProviderSettings, ServerSettings
from surehook.model import Headers, NewEvent
from surehook.packs import Provider, Received, Refused, Request, build_provider
from surehook.secrets import Secret

NOW = Millis(1_790_000_000_000)


def headers(values: Mapping[str, str]) -> Headers:
    """Headers as the server hands them over."""
    return tuple((name.lower(), value) for name, value in values.items())


def request(
    body: bytes = b"{}", values: Mapping[str, str] | Headers = (), *, topic: str = "", now: int = NOW
) -> Request:
    """A request to a provider."""
    given = headers(values) if isinstance(values, Mapping) else values
    return Request("acme", topic, "POST", given, body, Millis(now))


def provider(pack: str, *values: str, **settings: Any) -> Provider:
    """A provider ``acme`` of this pack; its live secrets are ``values``, named env:S0, env:S1, ..."""
    names = {f"env:S{number}": value for number, value in enumerate(values)}
    chosen = ProviderSettings(pack=pack, secrets=tuple(names), **settings)
    return build_provider("acme", chosen, lambda name: Secret(names[name], name), ServerSettings())


def received(one: Provider, asked: Request) -> Received:
    """The verdict on a request that must be authentic."""
    verdict = one.receive(asked)
    assert isinstance(verdict, Received), verdict
    return verdict


def event(one: Provider, asked: Request) -> NewEvent:
    """The only event of a request that must be authentic."""
    [only] = received(one, asked).events
    return only


def refusal(one: Provider, asked: Request) -> str:
    """Why a request is refused, which it must be."""
    verdict = one.receive(asked)
    assert isinstance(verdict, Refused), verdict
    return verdict.detail
