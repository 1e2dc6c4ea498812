"""``surehook config``: whether the configuration can work, and what it says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

import click
from msgspec.structs import replace

from surehook import wiring
from surehook.cli.options import USAGE, global_options, json_option, options_of
from surehook.cli.output import print_json
from surehook.cli.tables import print_table
from surehook.clock import SystemClock
from surehook.config import (
    DestinationSettings,
    Examination,
    Loaded,
    ProviderSettings,
    Settings,
    examine,
)
from surehook.config import show as every_setting
from surehook.errors import SurehookError
from surehook.handlers import Registry
from surehook.ingest.packs import build_provider
from surehook.publish.egress import check_url
from surehook.publish.signing import Signer
from surehook.secrets import resolve
from surehook.telemetry import printable


@click.group()
def config() -> None:
    """Check the configuration, or show where each value comes from."""


@config.command()
@json_option
@global_options()
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Read everything as `run` would, secrets and application too, and tell every problem and doubt."""
    options = options_of(ctx)
    examination = examine(options.config, os.environ, options.overrides())
    built, warnings = _build(examination)
    problems = [*examination.problems, *built]
    if as_json:
        print_json({"ok": not problems, "problems": problems, "warnings": warnings})
    else:
        for line in [*problems, *(f"warning: {warning}" for warning in warnings)]:
            click.echo(f"- {printable(line)}", err=True)
        click.echo(_verdict(examination.loaded, len(problems)), err=bool(problems))
    ctx.exit(USAGE if problems else 0)


@config.command()
@json_option
@global_options()
@click.pass_context
def show(ctx: click.Context, as_json: bool) -> None:
    """Every setting, its value and its source. Secrets are shown as the references they are."""
    options = options_of(ctx)
    found = every_setting(options.load())
    if as_json:
        print_json([{"place": one.place, "value": one.value, "source": str(one.source)} for one in found])
        return
    print_table(
        ("setting", "value", "source"),
        [(one.place, _text(one.value), one.source) for one in found],
        colour=options.colour,
        empty="",
    )


def _verdict(loaded: Loaded, count: int) -> str:
    where = f"{loaded.path}: " if loaded.path else "no configuration file, defaults and environment only: "
    return where + ("no problems." if not count else "a problem." if count == 1 else f"{count} problems.")


def _build(examination: Examination) -> tuple[list[str], list[str]]:
    """What only shows when the parts are built, of those that could be read: problems and warnings."""
    settings = examination.loaded.settings
    parts = [(place, checks) for place, checks in _checks(settings) if examination.clean(place)]
    problems = [problem for _, checks in parts for problem in map(_problem, checks) if problem]
    registry = Registry()
    try:
        registry = wiring.load_app(settings)
    except SurehookError as error:
        problems.append(str(error))
    # a provider with a problem may be missing in the settings
    doubted = registry if examination.clean("providers") else Registry()
    # where a part is wrong as a whole, the checks of its details say the same
    return list(dict.fromkeys(problems)), list(wiring.warnings_of(settings, doubted))


def _problem(check_one: Callable[[], object]) -> str | None:
    try:
        check_one()
    except SurehookError as error:
        return str(error)
    return None


def _checks(settings: Settings) -> Iterator[tuple[str, list[Callable[[], object]]]]:
    """The place of each part with checks of its details, so that all of them are told, and of the whole."""
    for name, provider in settings.providers.items():
        yield f"providers.{name}", list(_provider_checks(name, provider, settings.server.max_body))
    for name, destination in settings.destinations.items():
        yield f"destinations.{name}", list(_destination_checks(name, destination))
    token = settings.console.token
    if token is not None:
        yield "console.token", [partial(wiring.resolve_at, "console.token", token)]


def _provider_checks(name: str, provider: ProviderSettings, max_body: int) -> Iterator[Callable[[], object]]:
    for reference in provider.secrets if provider.enabled else ():
        alone = replace(provider, secrets=(reference,))
        yield partial(wiring.resolve_at, f"providers.{name}", reference)
        yield partial(build_provider, name, alone, resolve, max_body)
    yield partial(build_provider, name, provider, resolve, max_body)


def _destination_checks(name: str, destination: DestinationSettings) -> Iterator[Callable[[], object]]:
    yield partial(check_url, name, destination.url, destination.allow_private)
    for reference in destination.secrets:
        yield partial(_check_signing, name, reference)
    for header, value in destination.headers.items():
        yield partial(wiring.build_headers, name, {header: value})
    yield partial(wiring.build_route, name, destination, SystemClock())


def _check_signing(name: str, reference: str) -> None:
    Signer(name, [wiring.resolve_at(f"destinations.{name}.secrets", reference)])


def _text(value: object) -> str:
    if value is None or value == []:
        return "(none)"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
