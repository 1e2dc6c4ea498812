"""``surehook events reread``: stored requests, read again by packs that were mended since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from surehook.cli.options import TypeId, action_options, global_options, json_option, options_of
from surehook.cli.output import print_json
from surehook.cli.selection import check_selection, ids_of, pages, providers_of, selection_options
from surehook.cli.session import exit_code, with_database
from surehook.ids import EVENT_PREFIX, EventId, typeid
from surehook.ingest.readmission import Providers, read_again
from surehook.model import Action, ActionResult, Reread, Rereading, RowFilter
from surehook.states import EventState
from surehook.telemetry import printable
from surehook.wiring import OpenedDatabase


@click.command()
@click.argument("ids", metavar="ID...", type=TypeId(EVENT_PREFIX), nargs=-1)
@selection_options
@click.option(
    "--state",
    type=click.Choice(list(EventState), case_sensitive=False),
    help="With --provider: only those in this state.",
)
@action_options
@json_option
@global_options()
@click.pass_context
def reread(ctx: click.Context, /, ids: Sequence[bytes], as_json: bool, **asked: Any) -> None:
    """Read the stored requests of events again with the present packs, and write down what is read otherwise now.

    What nobody could read (DEAD, UNPARSABLE) and can be read now will run. Nothing else runs again: see replay.
    """
    check_selection(ids, asked["provider"], asked["since"])
    if asked["state"] and ids:
        raise click.UsageError("--state goes with --provider.")
    options = options_of(ctx)
    providers = providers_of(options.load().settings)

    async def work(database: OpenedDatabase) -> list[Reread]:
        action = Action(asked["actor"], asked["reason"], database.clock.now())
        wanted = RowFilter(provider=asked["provider"], since=asked["since"], state=asked["state"])
        chosen = ids or await ids_of(database.reader.events, wanted)
        return [
            result
            for page in pages(chosen)
            for result in await _reread(database, [EventId(id) for id in page], providers, action)
        ]

    results = with_database(options, work)
    _report(results, as_json)
    ctx.exit(exit_code([ActionResult(each.id, each.why is None, each.was) for each in results]))


async def _reread(
    database: OpenedDatabase, ids: Sequence[EventId], providers: Providers, action: Action
) -> list[Reread]:
    left, batch = {}, []
    for id in ids:
        found = await _read(database, id, providers)
        if isinstance(found, Rereading):
            batch.append(found)
        else:
            left[id] = found
    written = await database.storage.reread(batch, action) if batch else []
    results = left | {result.id: _known(result) for result in written}
    return [results[id] for id in ids]


async def _read(database: OpenedDatabase, id: EventId, providers: Providers) -> Rereading | Reread:
    event = await database.reader.event(id)
    if event is None:
        return _known(Reread(id, None))
    found = read_again(event, await database.reader.payload(event.payload_id), providers)
    return Reread(id, event.state, why=found) if isinstance(found, str) else found


def _known(result: Reread) -> Reread:
    return Reread(result.id, None, why="there is none of this id") if result.was is None else result


def _report(results: Sequence[Reread], as_json: bool) -> None:
    if as_json:
        print_json([_json(result) for result in results])
        return
    for result in results:
        name = typeid(EVENT_PREFIX, result.id)
        if result.why is not None:
            click.echo(f"{name}  left alone: {printable(result.why)}", err=True)
        else:
            click.echo(f"{name}  {_told(result)}")
    if not results:
        click.echo("No events.")


def _told(result: Reread) -> str:
    words = ["is read otherwise now"] if result.changed else []
    words += ["will run (was DEAD)"] if result.revived else []
    words += (
        [f"holds besides: {', '.join(typeid(EVENT_PREFIX, id) for id in result.added)}"]
        if result.added
        else []
    )
    return "; ".join(words) or "is read as before"


def _json(result: Reread) -> dict[str, Any]:
    return {
        "id": typeid(EVENT_PREFIX, result.id),
        "was": result.was,
        "changed": result.changed,
        "revived": result.revived,
        "added": [typeid(EVENT_PREFIX, id) for id in result.added],
        "why": result.why,
    }
