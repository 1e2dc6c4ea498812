"""``surehook config``: whether the configuration can work, and what it says."""

from __future__ import annotations

import os

import click

from surehook import wiring
from surehook.cli.options import USAGE, global_options, json_option, options_of
from surehook.cli.output import print_json
from surehook.cli.tables import print_table
from surehook.config import (
    Examination,
    Loaded,
    examine,
)
from surehook.config import show as every_setting
from surehook.errors import SurehookError
from surehook.handlers import Registry
from surehook.telemetry import printable
from surehook.wiring.checks import part_checks, problems_of, store_checks


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
    parts = [*part_checks(settings), *store_checks(settings)]
    problems = problems_of(check for place, checks in parts if examination.clean(place) for check in checks)
    registry = Registry()
    try:
        registry = wiring.load_app(settings)
    except SurehookError as error:
        problems.append(str(error))
    # a provider with a problem may be missing in the settings
    doubted = registry if examination.clean("providers") else Registry()
    return problems, list(wiring.warnings_of(settings, doubted))


def _text(value: object) -> str:
    if value is None or value == []:
        return "(none)"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
