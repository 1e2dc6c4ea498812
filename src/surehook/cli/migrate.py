"""``surehook migrate``: the database's schema."""

from __future__ import annotations

import asyncio

import click

from surehook import wiring
from surehook.cli.options import global_options, json_option, options_of
from surehook.cli.output import moment, print_json, print_table
from surehook.clock import isoformat


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
    found = asyncio.run(wiring.migration_status(options.load().settings))
    if as_json:
        print_json(
            [
                {"version": version, "name": name, "applied_at": None if at is None else isoformat(at)}
                for version, name, at in found
            ]
        )
        return
    print_table(
        ("version", "name", "applied"),
        [(version, name, moment(at) or "not yet") for version, name, at in found],
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
