"""``surehook rejections``: requests that were refused, and those that should not have been."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import click
import msgspec

from surehook.cli import rows
from surehook.cli.options import TypeId, action_options, global_options, json_option, limit_option, options_of
from surehook.cli.output import moment, print_json, public
from surehook.cli.selection import check_selection, ids_of, pages, providers_of, selection_options
from surehook.cli.session import exit_code, with_database
from surehook.cli.tables import print_pairs, print_table
from surehook.clock import Millis
from surehook.errors import NotFound
from surehook.ids import EVENT_PREFIX, REJECTION_PREFIX, RejectionId, typeid
from surehook.ingest.readmission import Providers, judge_again
from surehook.model import Accepted, Action, ActionResult, Headers, Readmission, RejectionRow, RowFilter
from surehook.packs import SECRET_HEADERS, Provider
from surehook.states import Reason
from surehook.telemetry import printable
from surehook.wiring import OpenedDatabase

REJECTION_ID: Final = TypeId(REJECTION_PREFIX)
HIDDEN: Final = "(hidden: it may be a secret)"

#: Headers whose names say that they hold a secret, whatever the provider's scheme is.
_TELLING: Final = re.compile(r"token|secret|passw|api-?key|auth|credential|session")


class Outcome(msgspec.Struct, frozen=True):
    """What became of a rejection that was judged again."""

    result: ActionResult
    events: Sequence[Accepted] = ()
    #: Why it stays refused.
    why: str | None = None


@click.group()
def rejections() -> None:
    """Look at requests that were refused; let those in that should not have been."""


@rejections.command("list")
@click.option("--provider", help="Only of this provider.")
@click.option(
    "--reason", type=click.Choice(list(Reason), case_sensitive=False), help="Only with this reason."
)
@limit_option(50)
@json_option
@global_options()
@click.pass_context
def list_rejections(ctx: click.Context, /, as_json: bool, **wanted: Any) -> None:
    """Refused requests, newest first."""
    options = options_of(ctx)
    found = with_database(options, lambda database: database.reader.rejections(RowFilter(**wanted)))
    if as_json:
        providers = providers_of(options.load().settings)
        print_json([{**_json(row), "headers": shown_headers(row, providers)} for row in found])
        return
    print_table(
        ("id", "at", "provider", "topic", "reason", "detail", "from", "bytes", "kept"),
        map(_line, found),
        colour=options.colour,
        empty="No rejections.",
        spare=("kept", "bytes", "from", "topic", "at"),
    )


@rejections.command()
@click.argument("rejection_id", metavar="ID", type=REJECTION_ID)
@click.option("--raw", is_flag=True, help="Write the body's bytes to stdout, and nothing else.")
@json_option
@global_options()
@click.pass_context
def show(ctx: click.Context, rejection_id: RejectionId, raw: bool, as_json: bool) -> None:
    """One refused request: why, from where, its headers and, where it is kept, its body."""
    options = options_of(ctx)
    row = with_database(options, lambda database: _one(database, rejection_id))
    headers = shown_headers(row, providers_of(options.load().settings))
    if raw:
        sys.stdout.buffer.write(row.rejection.body or b"")
    elif as_json:
        print_json({**_json(row), "headers": headers, **rows.body_json(row.rejection.body)})
    else:
        _print(row, headers, colour=options.colour)


@rejections.command()
@click.argument("ids", metavar="ID...", type=REJECTION_ID, nargs=-1)
@selection_options
@action_options
@json_option
@global_options()
@click.pass_context
def accept(ctx: click.Context, /, ids: Sequence[bytes], as_json: bool, **asked: Any) -> None:
    """Judge refused requests again with the present settings, as of when they came, and store those that are authentic.

    They become events as if they had just come, and run. It needs rejections.keep_bodies, before they came.
    """
    provider, since = asked["provider"], asked["since"]
    check_selection(ids, provider, since)
    options = options_of(ctx)
    providers = providers_of(options.load().settings)

    async def work(database: OpenedDatabase) -> list[Outcome]:
        action = Action(asked["actor"], asked["reason"], database.clock.now())
        chosen = ids or await _of_provider(database, provider, since)
        return [
            outcome
            for page in pages(chosen)
            for outcome in await _accept(database, [RejectionId(id) for id in page], providers, action)
        ]

    outcomes = with_database(options, work)
    _report(outcomes, as_json)
    ctx.exit(exit_code([outcome.result for outcome in outcomes]))


async def _one(database: OpenedDatabase, id: RejectionId) -> RejectionRow:
    row = await database.reader.rejection(id)
    if row is None:
        raise NotFound(f"there is no rejection {typeid(REJECTION_PREFIX, id)} in this database.")
    return row


async def _of_provider(database: OpenedDatabase, provider: str, since: Millis | None) -> list[bytes]:
    wanted = RowFilter(provider=provider, since=since, reason=Reason.BAD_SIGNATURE)
    return await ids_of(database.reader.rejections, wanted)


async def _accept(
    database: OpenedDatabase, ids: Sequence[RejectionId], providers: Providers, action: Action
) -> list[Outcome]:
    """Judge each, and store in one transaction what is authentic."""
    found = [(id, await database.reader.rejection(id)) for id in ids]
    judged = {id: None if row is None else await judge_again(row, providers) for id, row in found}
    batch = [each for each in judged.values() if isinstance(each, Readmission)]
    stored = await database.storage.readmit(batch, action) if batch else []
    accepted = {each.id: events for each, events in zip(batch, stored, strict=True)}
    return [_outcome(id, judged[id], accepted.get(id)) for id in ids]


def _outcome(id: RejectionId, judged: Readmission | str | None, events: Sequence[Accepted] | None) -> Outcome:
    if isinstance(judged, str):
        return Outcome(ActionResult(id, False, Reason.BAD_SIGNATURE), why=judged)
    if events is None:  # also where somebody else has let it in meanwhile
        return Outcome(ActionResult(id, False, None), why="there is none of this id")
    return Outcome(ActionResult(id, True, Reason.BAD_SIGNATURE), events)


def shown_headers(row: RejectionRow, providers: Providers) -> Headers:
    """The headers that were kept, without what may be a secret."""
    provider = providers.get(row.rejection.provider)
    hides = provider.hides if isinstance(provider, Provider) else SECRET_HEADERS.__contains__
    return tuple(
        (name, HIDDEN if hides(name) or _TELLING.search(name) else value)
        for name, value in row.rejection.headers
    )


def _json(row: RejectionRow) -> dict[str, Any]:
    told = public(row.rejection, without=("body", "query", "headers"))
    return {"id": typeid(REJECTION_PREFIX, row.id), **told, "kept": row.kept}


def _line(row: RejectionRow) -> Sequence[object]:
    told = row.rejection
    return (
        typeid(REJECTION_PREFIX, row.id),
        moment(told.received_at),
        told.provider,
        told.topic,
        told.reason,
        rows.first_line(told.detail),
        told.remote,
        told.body_size,
        "yes" if row.kept else "no",
    )


def _print(row: RejectionRow, headers: Headers, *, colour: bool) -> None:
    told = row.rejection
    pairs = [
        ("rejection", typeid(REJECTION_PREFIX, row.id)),
        ("at", moment(told.received_at)),
        ("provider", told.provider),
        ("topic", told.topic),
        ("method", told.method),
        ("reason", told.reason),
        ("detail", told.detail),
        ("from", told.remote),
        ("external id", told.external_id),
        ("bytes", told.body_size),
        ("sha256", told.body_sha256.hex()),
    ]
    print_pairs(pairs, colour=colour)
    rows.print_headers(headers, colour=colour)
    if told.body is None:
        click.echo("\nThe body is not kept.")
    else:
        rows.print_body(told.body, colour=colour)


def _report(outcomes: Sequence[Outcome], as_json: bool) -> None:
    if as_json:
        print_json([_outcome_json(outcome) for outcome in outcomes])
        return
    for outcome in outcomes:
        name = typeid(REJECTION_PREFIX, outcome.result.id)
        if outcome.result.done:
            click.echo(f"{name}  accepted: {', '.join(map(_became, outcome.events))}")
        else:
            click.echo(f"{name}  still refused: {printable(str(outcome.why))}", err=True)
    if not outcomes:
        click.echo("No rejections.")


def _became(event: Accepted) -> str:
    return typeid(EVENT_PREFIX, event.id) + (" (a duplicate)" if event.duplicate else "")


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    events = [{"id": typeid(EVENT_PREFIX, each.id), "duplicate": each.duplicate} for each in outcome.events]
    name = typeid(REJECTION_PREFIX, outcome.result.id)
    return {"id": name, "accepted": outcome.result.done, "events": events, "why": outcome.why}
