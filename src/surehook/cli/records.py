"""``surehook audit``: what people did."""

from __future__ import annotations

import click

from surehook.cli.options import global_options, json_option, limit_option, options_of
from surehook.cli.output import moment, print_json, public
from surehook.cli.rows import first_line
from surehook.cli.session import with_database
from surehook.cli.tables import print_table


@click.group()
def audit() -> None:
    """Look at what people did to events and messages."""


@audit.command("list")
@limit_option(50)
@json_option
@global_options()
@click.pass_context
def list_audit(ctx: click.Context, limit: int, as_json: bool) -> None:
    """Entries of the audit trail, newest first."""
    options = options_of(ctx)
    found = with_database(options, lambda database: database.reader.audit(limit))
    if as_json:
        print_json([public(row) for row in found])
        return
    print_table(
        ("no", "at", "actor", "action", "subject", "reason"),
        [
            (row.seq, moment(row.at), row.actor, row.action, row.subject, first_line(row.reason))
            for row in found
        ],
        colour=options.colour,
        empty="No entries.",
        spare=("no", "actor", "at", "reason"),
    )
