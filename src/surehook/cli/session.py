"""One command's use of the database, and the actions that both events and messages know."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import click
import msgspec

from surehook.cli.options import NOT_FOUND, PARTIAL, Options
from surehook.cli.output import print_json, with_progress
from surehook.config import Settings
from surehook.errors import Unavailable
from surehook.ids import typeid
from surehook.model import Action, ActionResult
from surehook.wiring import OpenedDatabase, database_file, open_database

Result = TypeVar("Result")

#: How many rows one transaction of an action moves: others get their turn in between.
BATCH: Final = 100


def with_database(options: Options, work: Callable[[OpenedDatabase], Awaitable[Result]]) -> Result:
    """Open the configured database, run ``work`` with it, close it. Raises Unavailable when there is none yet."""
    settings = options.load().settings
    require_database(settings)

    async def run() -> Result:
        async with open_database(settings) as database:
            return await work(database)

    return asyncio.run(run())


def require_database(settings: Settings) -> None:
    """Raise Unavailable when there is no SQLite file: opening would make an empty one, maybe in the wrong folder."""
    path = database_file(settings)
    if path is not None and not path.exists():
        raise Unavailable(
            f"there is no database {path.absolute()}. `surehook run` and `surehook migrate up` make it; "
            "--config or --database name another."
        )


class Verb(msgspec.Struct, frozen=True):
    """An action on rows: its words, and how to do it."""

    prefix: str
    done: str
    #: Why a row was left as it is, given the state it is in.
    refused: str
    run: Callable[[OpenedDatabase, Sequence[bytes], Action], Awaitable[list[ActionResult]]]


class Order(msgspec.Struct, frozen=True):
    """What is to be done to which rows, by whom and why."""

    verb: Verb
    ids: Sequence[bytes]
    actor: str
    reason: str
    as_json: bool


def perform(ctx: click.Context, options: Options, order: Order) -> None:
    """Do it, print what became of each id, and end with the exit code."""
    ids = list(dict.fromkeys(order.ids))

    def run(advance: Callable[[int], None]) -> list[ActionResult]:
        return with_database(options, lambda database: _in_batches(database, order, ids, advance))

    results = with_progress("working", len(ids), run)
    _report(order, results)
    ctx.exit(exit_code(results))


async def _in_batches(
    database: OpenedDatabase, order: Order, ids: Sequence[bytes], advance: Callable[[int], None]
) -> list[ActionResult]:
    action = Action(order.actor, order.reason, database.clock.now())
    results: list[ActionResult] = []
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        results += await order.verb.run(database, batch, action)
        advance(len(batch))
    return results


def exit_code(results: Sequence[ActionResult]) -> int:
    """0 all done; 3 none of them exists; 1 none was done; 4 some were."""
    if all(result.done for result in results):
        return 0
    if any(result.done for result in results):
        return PARTIAL
    return NOT_FOUND if all(result.was is None for result in results) else 1


def _report(order: Order, results: Sequence[ActionResult]) -> None:
    verb = order.verb
    if order.as_json:
        print_json([{"id": typeid(verb.prefix, r.id), "done": r.done, "was": r.was} for r in results])
        return
    for result in results:
        name = typeid(verb.prefix, result.id)
        if result.done:
            # what waits for its next attempt anyway does not start afresh: it only waits no longer
            done = "is due now" if result.was == "RETRYING" else verb.done
            click.echo(f"{name}  {done} (was {result.was})")
        else:
            why = "there is none of this id" if result.was is None else f"is {result.was}: {verb.refused}"
            click.echo(f"{name}  left alone: {why}", err=True)
