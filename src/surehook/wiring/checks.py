"""What only shows when the parts that the settings describe are built: secrets, headers, URLs, packs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from msgspec.structs import replace

from surehook.clock import SystemClock
from surehook.config import DestinationSettings, ProviderSettings, ServerSettings, Settings, is_postgres
from surehook.errors import SurehookError
from surehook.packs import build_provider
from surehook.packs.build import learns_secret
from surehook.packs.vacancy import is_vacant
from surehook.publish.egress import check_url
from surehook.publish.signing import Signer
from surehook.secrets import resolve
from surehook.wiring.extras import require_database_extra, require_queue_extra
from surehook.wiring.parts import build_headers, build_route, resolve_at
from surehook.wiring.urls import database_url, listen_url, queue_url

#: Raises a SurehookError that says what is wrong. Nothing is connected.
PartCheck = Callable[[], object]


def store_checks(settings: Settings) -> Iterator[tuple[str, list[PartCheck]]]:
    """The places of databases and queues, with checks of their references and of the libraries they need."""
    yield "database", [lambda: require_database_extra(database_url(settings))]
    yield "queue", [lambda: require_queue_extra(queue_url(settings))]
    yield "postgres.listen_url", [lambda: is_postgres(database_url(settings)) and listen_url(settings)]


def part_checks(settings: Settings) -> Iterator[tuple[str, list[PartCheck]]]:
    """The place of each other part with checks of its details, so that all of them are told, and of the whole."""
    for name, provider in settings.providers.items():
        yield f"providers.{name}", list(_provider_checks(name, provider, settings.server))
    for name, destination in settings.destinations.items():
        yield f"destinations.{name}", list(_destination_checks(name, destination))
    token = settings.console.token
    if token is not None:
        yield "console.token", [partial(resolve_at, "console.token", token)]


def problems_of(checks: Iterable[PartCheck]) -> list[str]:
    """What is wrong with a part, each problem once: where the whole is wrong, the checks of its details say the same."""
    return list(dict.fromkeys(problem for problem in map(_problem, checks) if problem))


def _problem(check_one: PartCheck) -> str | None:
    try:
        check_one()
    except SurehookError as error:
        return str(error)
    return None


def _provider_checks(name: str, provider: ProviderSettings, server: ServerSettings) -> Iterator[PartCheck]:
    # a secret that is still to be handed over is missing for good reason
    learns = learns_secret(name, provider)
    known = [each for each in provider.secrets if not (learns and is_vacant(each))]
    for reference in known if provider.enabled else ():
        alone = replace(provider, secrets=(reference,))
        yield partial(resolve_at, f"providers.{name}", reference)
        yield partial(build_provider, name, alone, resolve, server)
    for reference in provider.keys if provider.enabled else ():
        yield partial(resolve_at, f"providers.{name}.keys", reference)
    yield partial(build_provider, name, provider, resolve, server)


def _destination_checks(name: str, destination: DestinationSettings) -> Iterator[PartCheck]:
    yield partial(check_url, name, destination.url, destination.allow_private)
    for reference in destination.secrets:
        yield partial(_check_signing, name, reference)
    for header, value in destination.headers.items():
        yield partial(build_headers, name, {header: value})
    yield partial(build_route, name, destination, SystemClock())


def _check_signing(name: str, reference: str) -> None:
    Signer(name, [resolve_at(f"destinations.{name}.secrets", reference)])
