"""The packs seam: what ingest asks of a provider, and the list of the packs there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from surehook.config import ProviderSettings
from surehook.errors import ConfigurationError, did_you_mean
from surehook.ingest.packs.base import (
    Challenge,
    Pack,
    Provider,
    Received,
    Refused,
    Verdict,
    require_secrets,
)
from surehook.ingest.packs.configurable import Basic, Hmac, Token, Unverified
from surehook.ingest.packs.github import GitHub
from surehook.ingest.packs.shopify import Shopify, ShopifyEvents
from surehook.ingest.packs.slack import Slack
from surehook.ingest.packs.standard_webhooks import StandardWebhooks
from surehook.ingest.packs.stripe import Stripe
from surehook.ingest.signatures import Request
from surehook.secrets import Secret, SecretResolver

__all__ = [
    "PACKS",
    "Challenge",
    "Pack",
    "Provider",
    "Received",
    "Refused",
    "Request",
    "Verdict",
    "build_provider",
]

_ALL: Final[Sequence[Pack]] = (
    Stripe(),
    GitHub(),
    Shopify(),
    ShopifyEvents(),
    Slack(),
    StandardWebhooks(),
    Hmac(),
    Token(),
    Basic(),
    Unverified(),
)

#: Every pack by its name.
PACKS: Final[Mapping[str, Pack]] = MappingProxyType({pack.name: pack for pack in _ALL})

#: Settings that mean the same for every pack.
COMMON_SETTINGS: Final = frozenset(
    {"pack", "enabled", "secrets", "max_body", "response_status", "response_body"}
)

_LONGEST_TOLERANCE = 86_400


def build_provider(
    name: str, settings: ProviderSettings, secrets: SecretResolver, default_max_body: int
) -> Provider:
    """The provider that the settings describe; ``secrets`` turns their references into secrets.

    Raises ConfigurationError for an unknown pack, a setting that the pack does not know or that cannot work, and secrets
    that are missing or malformed. A disabled provider's secrets are not read.
    """
    try:
        pack = _pack(name, settings)
        _check_settings(pack, settings)
        require_secrets(pack, settings)
        resolved = _resolve(settings, secrets) if settings.enabled else ()
        return Provider(name, pack, settings, resolved, default_max_body)
    except ConfigurationError as error:
        raise ConfigurationError(f"providers.{name}: {error}") from None


def _pack(name: str, settings: ProviderSettings) -> Pack:
    wanted = settings.pack or name
    if wanted not in PACKS:
        raise ConfigurationError(f"there is no pack {wanted!r}: set pack. {did_you_mean(wanted, PACKS)}")
    if settings.pack is None and not PACKS[wanted].needs_secrets:
        raise ConfigurationError(f'a provider that verifies nothing must say so: write pack = "{wanted}"')
    return PACKS[wanted]


def _check_settings(pack: Pack, settings: ProviderSettings) -> None:
    default = ProviderSettings()
    for field in ProviderSettings.__struct_fields__:
        if getattr(settings, field) == getattr(default, field) or field in pack.settings | COMMON_SETTINGS:
            continue
        known = pack.settings or COMMON_SETTINGS
        raise ConfigurationError(f"pack {pack.name!r} does not know {field}. {did_you_mean(field, known)}")
    _check_range("tolerance", settings.tolerance, 1, _LONGEST_TOLERANCE)
    _check_range("response_status", settings.response_status, 200, 299)
    _check_range("max_body", settings.max_body, 1, 2**31)


def _check_range(setting: str, value: int | None, lowest: int, highest: int) -> None:
    if value is not None and not lowest <= value <= highest:
        raise ConfigurationError(f"{setting} = {value} must be from {lowest} to {highest}")


def _resolve(settings: ProviderSettings, secrets: SecretResolver) -> Sequence[Secret]:
    return tuple(secrets(reference) for reference in settings.secrets)
