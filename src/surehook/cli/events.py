"""``surehook events``: what stands in the inbox, and what a person can do about it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import click
import msgspec

from surehook.cli import rows
from surehook.cli.options import (
    TypeId,
    action_options,
    global_options,
    json_option,
    limit_option,
    options_of,
)
from surehook.cli.output import moment, print_json, print_title
from surehook.cli.reread import reread
from surehook.cli.session import Order, Verb, perform, with_database
from surehook.cli.tables import print_pairs, print_table
from surehook.errors import NotFound
from surehook.ids import EVENT_PREFIX, EventId, typeid
from surehook.model import (
    Action,
    ActionResult,
    AuditEntry,
    Counts,
    EventRow,
    FailureRow,
    MessageRow,
    Payload,
    RowFilter,
)
from surehook.states import EventState
from surehook.wiring import OpenedDatabase

EVENT_ID: Final = TypeId(EVENT_PREFIX)


class Story(msgspec.Struct, frozen=True):
    """An event with everything that belongs to it."""

    event: EventRow
    payload: Payload | None
    failures: list[FailureRow]
    actions: list[AuditEntry]
    messages: list[MessageRow]


@click.group()
def events() -> None:
    """Look at events; replay, reread or discard them."""


events.add_command(reread)


@events.command("list")
@click.option(
    "--state", type=click.Choice(list(EventState), case_sensitive=False), help="Only in this state."
)
@click.option("--provider", help="Only of this provider.")
@click.option("--type", help='Only of this type; with "*" at its end, of all that begin so.')
@click.option("--external-id", help="Only with this id of the provider.")
@click.option("--before", type=EVENT_ID, metavar="ID", help="The next page: what follows this event.")
@limit_option(50)
@json_option
@global_options()
@click.pass_context
def list_events(ctx: click.Context, /, as_json: bool, **wanted: Any) -> None:
    """Events, newest first."""
    options = options_of(ctx)
    found, counts = with_database(options, lambda database: _page(database, RowFilter(**wanted)))
    if as_json:
        print_json([rows.event_json(row) for row in found])
        return
    print_table(
        rows.EVENT_COLUMNS,
        map(rows.event_line, found),
        colour=options.colour,
        empty="No events.",
        spare=rows.SPARE_COLUMNS,
    )
    if len(found) == wanted["limit"]:
        click.echo(f"The next page: --before {typeid(EVENT_PREFIX, found[-1].id)}")
    rows.event_counts(counts)


@events.command()
@click.argument("event_id", metavar="ID", type=EVENT_ID)
@click.option("--raw", is_flag=True, help="Write the body's bytes to stdout, and nothing else.")
@json_option
@global_options()
@click.pass_context
def show(ctx: click.Context, event_id: EventId, raw: bool, as_json: bool) -> None:
    """One event: its timeline, failures, messages, headers and body."""
    options = options_of(ctx)
    story = with_database(options, lambda database: _story(database, event_id))
    if raw:
        sys.stdout.buffer.write(story.payload.body if story.payload else b"")
    elif as_json:
        print_json(_story_json(story))
    else:
        _print_story(story, options.colour)


@events.command()
@click.argument("ids", metavar="ID...", type=EVENT_ID, nargs=-1, required=True)
@action_options
@json_option
@global_options()
@click.pass_context
def replay(ctx: click.Context, /, **order: Any) -> None:
    """Run finished or dead events again; one that is RETRYING becomes due now."""
    perform(ctx, options_of(ctx), Order(_REPLAY, **order))


@events.command()
@click.argument("ids", metavar="ID...", type=EVENT_ID, nargs=-1, required=True)
@action_options
@json_option
@global_options()
@click.pass_context
def discard(ctx: click.Context, /, **order: Any) -> None:
    """Give up on dead events for good; a replay can still bring them back."""
    perform(ctx, options_of(ctx), Order(_DISCARD, **order))


async def _page(database: OpenedDatabase, wanted: RowFilter) -> tuple[list[EventRow], Counts]:
    return await database.reader.events(wanted), await database.reader.counts()


async def _story(database: OpenedDatabase, id: EventId) -> Story:
    reader = database.reader
    event = await reader.event(id)
    if event is None:
        raise NotFound(f"there is no event {typeid(EVENT_PREFIX, id)} in this database.")
    return Story(
        event=event,
        payload=await reader.payload(event.payload_id),
        failures=await reader.failures(id),
        actions=await reader.audit(100, typeid(EVENT_PREFIX, id)),
        messages=await reader.messages(RowFilter(event_id=id, limit=1000)),
    )


def _story_json(story: Story) -> dict[str, Any]:
    payload = story.payload
    return {
        **rows.event_json(story.event),
        "failures": rows.failures_json(story.failures),
        "messages": [rows.message_json(message) for message in story.messages],
        "headers": payload.headers if payload else None,
        **rows.body_json(payload.body if payload else None),
    }


def _print_story(story: Story, colour: bool) -> None:
    print_pairs(_facts(story.event), colour=colour)
    arrived = ("received", story.event.received_at)
    rows.print_timeline(rows.timeline(story.event, arrived, story.failures, story.actions), colour=colour)
    rows.print_failures(story.failures, colour=colour)
    if story.messages:
        print_title("Messages", colour=colour)
        lines = map(rows.message_line, story.messages)
        print_table(rows.MESSAGE_COLUMNS, lines, colour=colour, empty="", spare=rows.SPARE_COLUMNS)
    if story.payload:
        rows.print_headers(story.payload.headers, colour=colour)
        rows.print_body(story.payload.body, colour=colour)
    else:
        click.echo("\nThe body is no longer kept.")


def _facts(event: EventRow) -> list[tuple[str, object]]:
    return [
        ("event", typeid(EVENT_PREFIX, event.id)),
        ("provider", event.provider),
        ("topic", event.topic),
        ("type", event.type),
        ("subject", event.subject),
        (
            "external id",
            event.external_id + (" (hash of the body: the provider gave none)" if event.weak else ""),
        ),
        ("state", event.state),
        ("reason", event.reason),
        ("last error", event.last_error),
        ("attempts", event.attempts),
        ("lost leases", event.lost_leases or None),
        ("duplicates", event.duplicates or None),
        ("replays", event.replays or None),
        ("occurred", moment(event.occurred_at)),
        ("lease until", moment(event.lease_until)),
        ("traceparent", event.traceparent),
    ]


async def _replay(database: OpenedDatabase, ids: Sequence[bytes], action: Action) -> list[ActionResult]:
    return await database.storage.replay_events([EventId(id) for id in ids], action)


async def _discard(database: OpenedDatabase, ids: Sequence[bytes], action: Action) -> list[ActionResult]:
    return await database.storage.discard_events([EventId(id) for id in ids], action)


_REPLAY: Final = Verb(EVENT_PREFIX, "will run again", "it is not finished yet, so it runs by itself", _replay)
_DISCARD: Final = Verb(EVENT_PREFIX, "discarded", "only DEAD events can be discarded", _discard)
