"""``surehook config``: whether the configuration can work, and what it says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

import click

from surehook import wiring
from surehook.cli.options import USAGE, global_options, json_option, options_of
from surehook.cli.output import print_json, print_table
from surehook.clock import SystemClock
from surehook.config import Loaded, Settings, examine
from surehook.config import show as every_setting
from surehook.errors import ConfigurationError, SurehookError
from surehook.ingest.packs import build_provider
from surehook.publish.egress import check_url
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
    """Read everything as `run` would, secrets and application too, and tell every problem."""
    options = options_of(ctx)
    examination = examine(options.config, os.environ, options.overrides())
    problems = [*examination.problems]
    if not problems:
        problems += _problems(examination.loaded.settings)
    if as_json:
        print_json({"ok": not problems, "problems": problems})
    else:
        for problem in problems:
            click.echo(f"- {printable(problem)}", err=True)
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


def _problems(settings: Settings) -> Iterator[str]:
    """What only shows when the parts are built."""
    for *details, whole in _checks(settings):
        problems = [problem for problem in map(_problem, details) if problem]
        # the whole would only repeat the first of them
        yield from problems or filter(None, [_problem(whole)])


def _problem(check_one: Callable[[], object]) -> str | None:
    try:
        check_one()
    except SurehookError as error:
        return str(error)
    return None


def _checks(settings: Settings) -> Iterator[list[Callable[[], object]]]:
    """For each part, checks of its details and then of the whole."""
    for name, provider in settings.providers.items():
        yield [partial(build_provider, name, provider, resolve, settings.server.max_body)]
    for name, destination in settings.destinations.items():
        place = f"destinations.{name}.secrets"
        yield [
            partial(check_url, name, destination.url, destination.allow_private),
            *(partial(_resolve, place, reference) for reference in destination.secrets),
            partial(wiring.build_route, name, destination, SystemClock()),
        ]
    if settings.console.token is not None:
        yield [partial(_resolve, "console.token", settings.console.token)]
    yield [partial(wiring.load_app, settings)]


def _resolve(place: str, reference: str) -> None:
    try:
        resolve(reference)
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error}") from None


def _text(value: object) -> str:
    if value is None or value == []:
        return "(none)"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
