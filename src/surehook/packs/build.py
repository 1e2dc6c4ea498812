"""From the settings of a provider to the provider, with an error for everything that cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from surehook.config import ProviderSettings, ServerSettings
from surehook.errors import ConfigurationError, did_you_mean
from surehook.packs.address import Address
from surehook.packs.catalogue import pack_named
from surehook.packs.keystore import Fetch, KeyStore
from surehook.packs.pack import Pack, Setup
from surehook.packs.provider import Provider
from surehook.packs.vacancy import Vacancy
from surehook.secrets import Secret, SecretResolver

#: Settings that mean the same for every pack.
COMMON_SETTINGS: Final = frozenset(
    {"pack", "enabled", "secrets", "max_body", "response_status", "response_body"}
)

_LONGEST_TOLERANCE = 86_400
#: A disabled provider verifies nothing, so its address need not be known yet.
_NOWHERE: Final = Address("https://disabled.invalid")


def build_provider(
    name: str,
    settings: ProviderSettings,
    secrets: SecretResolver,
    server: ServerSettings,
    fetch: Fetch | None = None,
) -> Provider:
    """The provider that the settings describe; ``secrets`` turns their references into secrets.

    ``fetch`` gets the keys of senders that publish theirs. Where it is not given, requests that need any cannot be judged.

    Raises ConfigurationError for an unknown pack, a setting that the pack does not know or that cannot work, and secrets
    that are missing or malformed. A disabled provider's secrets are not read.
    """
    try:
        pack = _pack(name, settings)
        _check_settings(pack, settings)
        require_secrets(pack, settings)
        vacancy = _vacancy(pack, settings)
        known = [each for each in settings.secrets if vacancy is None or each != vacancy.reference]
        setup = Setup(
            settings,
            _resolve(known, settings, secrets),
            _address(name, pack, settings, server),
            _resolve(settings.keys, settings, secrets),
            KeyStore(fetch),
            _verify_token(settings, secrets),
            vacancy,
        )
        return Provider(name, pack, setup, server.max_body)
    except ConfigurationError as error:
        raise ConfigurationError(f"providers.{name}: {error}") from None


def _pack(name: str, settings: ProviderSettings) -> Pack:
    pack = pack_named(settings.pack or name)
    if settings.pack is None and not pack.needs_secrets:
        raise ConfigurationError(f'a provider that verifies nothing must say so: write pack = "{name}"')
    return pack


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


def require_secrets(pack: Pack, settings: ProviderSettings) -> None:
    """Raise ConfigurationError when secrets are missing, or given where nothing is verified."""
    if pack.needs_secrets and not settings.secrets:
        raise ConfigurationError(
            f"pack {pack.name!r} verifies with a secret and none is given: set secrets = ['env:NAME'], "
            'or write pack = "none" to accept requests from anyone'
        )
    if not pack.needs_secrets and settings.secrets:
        raise ConfigurationError(
            f"pack {pack.name!r} verifies nothing, so its secrets would not be used: remove them"
        )


def _resolve(
    references: Sequence[str], settings: ProviderSettings, secrets: SecretResolver
) -> Sequence[Secret]:
    return tuple(secrets(reference) for reference in references) if settings.enabled else ()


def learns_secret(name: str, settings: ProviderSettings) -> bool:
    """Whether the sender hands its secret over; False where there is no such pack."""
    try:
        return pack_named(settings.pack or name).learns_secret
    except ConfigurationError:
        return False


def _vacancy(pack: Pack, settings: ProviderSettings) -> Vacancy | None:
    """The first of the secrets that is still to be handed over. Raises ConfigurationError when it could not be kept."""
    if not pack.learns_secret or not settings.enabled:
        return None
    return next((vacancy for each in settings.secrets if (vacancy := Vacancy.of(each)) is not None), None)


def _verify_token(settings: ProviderSettings, secrets: SecretResolver) -> Secret | None:
    wanted = settings.enabled and settings.verify_token is not None
    return secrets(settings.verify_token or "") if wanted else None


def _address(name: str, pack: Pack, settings: ProviderSettings, server: ServerSettings) -> Address | None:
    """Where the sender posts to. Raises ConfigurationError when it signs that and nobody has said it."""
    if settings.url is not None:
        return Address(settings.url)
    if server.public_url is not None:
        return Address(f"{server.public_url.rstrip('/')}/webhooks/{name}/{{topic}}")
    if not settings.enabled:
        return _NOWHERE
    if pack.signs_url:
        raise ConfigurationError(
            f"pack {pack.name!r} signs the address that it posts to: set server.public_url = "
            "'https://hooks.example.com', or url for this provider alone"
        )
    return None
