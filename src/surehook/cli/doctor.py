"""``surehook doctor``: whether everything that the settings name can work here, and what to do if not."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click

from surehook.cli.options import FAILED, Options, global_options, json_option, options_of
from surehook.cli.output import print_json
from surehook.config import examine
from surehook.errors import ConfigurationError
from surehook.telemetry import printable
from surehook.wiring.doctor import Finding, diagnose

_COLOURS: Final = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command()
@json_option
@global_options()
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check settings, application, database, queue, secrets, destinations, ports and versions. Delivers nothing.

    Ends with 1 when a check has failed; warnings are no failures.
    """
    options = options_of(ctx)
    findings = _diagnose(options)
    failed = any(each.level == "failed" for each in findings)
    if as_json:
        print_json({"ok": not failed, "checks": findings})
    else:
        _print(findings, colour=options.colour)
    ctx.exit(FAILED if failed else 0)


def _diagnose(options: Options) -> list[Finding]:
    try:
        examination = examine(options.config, os.environ, options.overrides())
    except ConfigurationError as error:  # there is no file, or it is not TOML
        return [Finding("configuration", "failed", str(error))]
    with _quiet():
        return asyncio.run(diagnose(examination))


@contextmanager
def _quiet() -> Iterator[None]:
    """What the parts log of their troubles stands in the findings already."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _print(findings: Sequence[Finding], *, colour: bool) -> None:
    width = max(len(each.check) for each in findings)
    for each in findings:
        level = click.style(f"{each.level:7}", fg=_COLOURS[each.level]) if colour else f"{each.level:7}"
        click.echo(f"{level}  {printable(each.check):{width}}  {printable(each.text)}")
    failed, warned = ([each.level for each in findings].count(level) for level in ("failed", "warning"))
    click.echo(f"\n{failed} failed, {warned} warning{'s' * (warned != 1)}.")
