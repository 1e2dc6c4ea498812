"""``surehook messages``: what stands in the outbox, and what a person can do about it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import click
import msgspec

from surehook.cli import rows
from surehook.cli.events import EVENT_ID
from surehook.cli.options import (
    TypeId,
    action_options,
    global_options,
    json_option,
    limit_option,
    options_of,
)
from surehook.cli.output import moment, print_json
from surehook.cli.session import Order, Verb, perform, with_database
from surehook.cli.tables import print_pairs, print_table
from surehook.errors import NotFound
from surehook.ids import EVENT_PREFIX, MESSAGE_PREFIX, MessageId, typeid
from surehook.model import Action, ActionResult, AuditEntry, Counts, FailureRow, MessageRow, RowFilter
from surehook.states import MessageState
from surehook.wiring import OpenedDatabase

MESSAGE_ID: Final = TypeId(MESSAGE_PREFIX)


class Story(msgspec.Struct, frozen=True):
    """A message with everything that belongs to it."""

    message: MessageRow
    body: bytes | None
    failures: list[FailureRow]
    actions: list[AuditEntry]


@click.group()
def messages() -> None:
    """Look at messages; replay or discard them."""


@messages.command("list")
@click.option(
    "--state", type=click.Choice(list(MessageState), case_sensitive=False), help="Only in this state."
)
@click.option("--destination", help="Only to this destination.")
@click.option("--type", help='Only of this type; with "*" at its end, of all that begin so.')
@click.option("--event", "event_id", type=EVENT_ID, metavar="ID", help="Only what this event caused.")
@click.option("--before", type=MESSAGE_ID, metavar="ID", help="The next page: what follows this message.")
@limit_option(50)
@json_option
@global_options()
@click.pass_context
def list_messages(ctx: click.Context, /, as_json: bool, **wanted: Any) -> None:
    """Messages, newest first."""
    options = options_of(ctx)
    found, counts = with_database(options, lambda database: _page(database, RowFilter(**wanted)))
    if as_json:
        print_json([rows.message_json(row) for row in found])
        return
    print_table(
        rows.MESSAGE_COLUMNS,
        map(rows.message_line, found),
        colour=options.colour,
        empty="No messages.",
        spare=rows.SPARE_COLUMNS,
    )
    if len(found) == wanted["limit"]:
        click.echo(f"The next page: --before {typeid(MESSAGE_PREFIX, found[-1].id)}")
    rows.print_counts(counts, "All messages", counts.messages)


@messages.command()
@click.argument("message_id", metavar="ID", type=MESSAGE_ID)
@click.option("--raw", is_flag=True, help="Write the body's bytes to stdout, and nothing else.")
@json_option
@global_options()
@click.pass_context
def show(ctx: click.Context, message_id: MessageId, raw: bool, as_json: bool) -> None:
    """One message: its timeline, failures and body."""
    options = options_of(ctx)
    story = with_database(options, lambda database: _story(database, message_id))
    if raw:
        sys.stdout.buffer.write(story.body or b"")
    elif as_json:
        failures = rows.failures_json(story.failures)
        print_json({**rows.message_json(story.message), "failures": failures, **rows.body_json(story.body)})
    else:
        _print_story(story, options.colour)


@messages.command()
@click.argument("ids", metavar="ID...", type=MESSAGE_ID, nargs=-1, required=True)
@action_options
@json_option
@global_options()
@click.pass_context
def replay(ctx: click.Context, /, **order: Any) -> None:
    """Send sent, dead or discarded messages again, under the same message id."""
    perform(ctx, options_of(ctx), Order(_REPLAY, **order))


@messages.command()
@click.argument("ids", metavar="ID...", type=MESSAGE_ID, nargs=-1, required=True)
@action_options
@json_option
@global_options()
@click.pass_context
def discard(ctx: click.Context, /, **order: Any) -> None:
    """Give up on dead messages for good; a replay can still bring them back."""
    perform(ctx, options_of(ctx), Order(_DISCARD, **order))


async def _page(database: OpenedDatabase, wanted: RowFilter) -> tuple[list[MessageRow], Counts]:
    return await database.reader.messages(wanted), await database.reader.counts()


async def _story(database: OpenedDatabase, id: MessageId) -> Story:
    message = await database.reader.message(id)
    if message is None:
        raise NotFound(f"there is no message {typeid(MESSAGE_PREFIX, id)} in this database.")
    reader = database.reader
    actions = await reader.audit(100, typeid(MESSAGE_PREFIX, id))
    return Story(message, await reader.message_body(id), await reader.failures(id), actions)


def _print_story(story: Story, colour: bool) -> None:
    print_pairs(_facts(story.message), colour=colour)
    created = ("created", story.message.created_at)
    rows.print_timeline(rows.timeline(story.message, created, story.failures, story.actions), colour=colour)
    rows.print_failures(story.failures, colour=colour)
    if story.body is not None:
        rows.print_body(story.body, colour=colour)


def _facts(message: MessageRow) -> list[tuple[str, object]]:
    return [
        ("message", typeid(MESSAGE_PREFIX, message.id)),
        ("destination", message.destination),
        ("type", message.type),
        ("subject", message.subject),
        ("key", message.order_key),
        ("caused by", typeid(EVENT_PREFIX, message.event_id)),
        ("state", message.state),
        ("reason", message.reason),
        ("last error", message.last_error),
        ("attempts", message.attempts),
        ("lost leases", message.lost_leases or None),
        ("replays", message.replays or None),
        ("size", f"{message.size} bytes"),
        ("lease until", moment(message.lease_until)),
        ("traceparent", message.traceparent),
    ]


async def _replay(database: OpenedDatabase, ids: Sequence[bytes], action: Action) -> list[ActionResult]:
    return await database.storage.replay_messages([MessageId(id) for id in ids], action)


async def _discard(database: OpenedDatabase, ids: Sequence[bytes], action: Action) -> list[ActionResult]:
    return await database.storage.discard_messages([MessageId(id) for id in ids], action)


_REPLAY: Final = Verb(
    MESSAGE_PREFIX, "will be sent again", "it is not finished yet, so it is sent by itself", _replay
)
_DISCARD: Final = Verb(MESSAGE_PREFIX, "discarded", "only DEAD messages can be discarded", _discard)
