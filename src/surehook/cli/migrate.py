"""``surehook migrate``: the database's schema."""

from __future__ import annotations

import asyncio

import click

from surehook import wiring
from surehook.cli.options import global_options, json_option, options_of
from surehook.cli.output import moment, print_json, public
from surehook.cli.session import require_database
from surehook.cli.tables import print_table


@click.group()
def migrate() -> None:
    """Look at the database's schema, or bring it up to date."""


@migrate.command()
@json_option
@global_options()
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Every migration and when it was applied."""
    options = options_of(ctx)
    settings = options.load().settings
    require_database(settings)
    found = asyncio.run(wiring.migration_status(settings))
    if as_json:
        print_json([public(one) for one in found])
        return
    print_table(
        ("version", "name", "applied"),
        [(one.version, one.name, moment(one.applied_at) or "not yet") for one in found],
        colour=options.colour,
        empty="No migrations.",
    )


@migrate.command()
@json_option
@global_options()
@click.pass_context
def up(ctx: click.Context, as_json: bool) -> None:
    """Apply what is missing. `surehook run` does it too, unless told not to."""
    applied = asyncio.run(wiring.migrate(options_of(ctx).load().settings))
    if as_json:
        print_json(list(applied))
        return
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("The schema is up to date.")
