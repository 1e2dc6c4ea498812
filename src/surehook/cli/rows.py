"""Rows of the database as JSON and as lines of a table."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click
import msgspec

from surehook.cli.output import moment, print_block, print_title, public
from surehook.cli.tables import print_table
from surehook.ids import EVENT_PREFIX, MESSAGE_PREFIX, typeid
from surehook.model import AuditEntry, Counts, EventRow, FailureRow, MessageRow

EVENT_COLUMNS: Final = (
    "id",
    "received",
    "provider",
    "type",
    "state",
    "attempts",
    "external id",
    "last error",
)
MESSAGE_COLUMNS: Final = ("id", "created", "destination", "type", "state", "attempts", "last error")
#: What narrow terminals do without, first what is missed least.
SPARE_COLUMNS: Final = ("last error", "external id", "attempts", "received", "created")

#: Characters of one cell of a table.
MOST_IN_CELL: Final = 80

#: Bytes of a body that are shown; ``--raw`` writes all.
MOST_SHOWN: Final = 64 * 1024


def event_json(row: EventRow) -> dict[str, Any]:
    """An event for programs."""
    return public(row, EVENT_PREFIX, without=("payload_id",))


def message_json(row: MessageRow) -> dict[str, Any]:
    """A message for programs."""
    return public(row, MESSAGE_PREFIX)


def failures_json(failures: Iterable[FailureRow]) -> list[dict[str, Any]]:
    """Failed attempts for programs."""
    return [{"attempt": each.attempt, **public(each.failure)} for each in failures]


def body_json(body: bytes | None) -> dict[str, Any]:
    """A body for programs: ``body`` as text, or ``body_base64`` where it is not UTF-8."""
    if body is None:
        return {"body": None}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def event_line(row: EventRow) -> Sequence[object]:
    """An event in a table of EVENT_COLUMNS."""
    return (
        typeid(EVENT_PREFIX, row.id),
        moment(row.received_at),
        row.provider,
        first_line(row.type),
        row.state,
        row.attempts,
        row.external_id,
        first_line(row.last_error),
    )


def message_line(row: MessageRow) -> Sequence[object]:
    """A message in a table of MESSAGE_COLUMNS."""
    return (
        typeid(MESSAGE_PREFIX, row.id),
        moment(row.created_at),
        row.destination,
        first_line(row.type),
        row.state,
        row.attempts,
        first_line(row.last_error),
    )


def first_line(text: str | None) -> str:
    """The beginning of a text that anybody can make long, as much as fits into a table."""
    lines = (text or "").splitlines() or [""]
    return lines[0] if len(lines[0]) <= MOST_IN_CELL else lines[0][: MOST_IN_CELL - 3] + "..."


def timeline(
    row: EventRow | MessageRow,
    begun: tuple[str, int],
    failures: Sequence[FailureRow],
    actions: Sequence[AuditEntry],
) -> list[Sequence[object]]:
    """What happened to a row, in order of time: (time, what)."""
    moments: list[tuple[int, str]] = [(begun[1], begun[0])]
    moments += [
        (each.failure.failed_at, f"attempt {each.attempt} failed: {_short(each)}") for each in failures
    ]
    moments += [(each.at, f"{each.action} by {each.actor}: {first_line(each.reason)}") for each in actions]
    if row.finished_at is not None:
        moments.append((row.finished_at, row.state.value + (f" ({row.reason})" if row.reason else "")))
    elif row.due_at is not None:
        moments.append((row.due_at, f"{row.state.value}: due"))
    return [(moment(at), what) for at, what in sorted(moments, key=lambda entry: entry[0])]


def _short(failure: FailureRow) -> str:
    return f"{failure.failure.error_type}: {first_line(failure.failure.message)}"


def print_timeline(lines: Sequence[Sequence[object]], *, colour: bool) -> None:
    """The timeline as a part of its own."""
    print_title("Timeline", colour=colour)
    print_table(("at", "what"), lines, colour=colour, empty="")


def print_failures(failures: Sequence[FailureRow], *, colour: bool) -> None:
    """Every failure with its traceback or answer."""
    for each in failures:
        failure = each.failure
        print_title(f"Attempt {each.attempt} failed at {moment(failure.failed_at)}", colour=colour)
        print_block(failure.detail or f"{failure.error_type}: {failure.message}")


def print_headers(headers: Iterable[tuple[str, str]], *, colour: bool) -> None:
    """The headers as they came."""
    print_title("Headers", colour=colour)
    print_block("\n".join(f"{name}: {value}" for name, value in headers))


def print_body(body: bytes, *, colour: bool) -> None:
    """A body as people read it: JSON indented, other text as it is, and of anything else the size."""
    print_title("Body", colour=colour)
    print_block(readable(body))


def readable(body: bytes) -> str:
    """See ``print_body``."""
    if len(body) > MOST_SHOWN:
        return f"({len(body)} bytes; --raw writes them)"
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"({len(body)} bytes that are no text; --raw writes them)"
    try:
        return msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, RecursionError):
        return text


def print_counts(counts: Counts, what: str, states: Mapping[str, int], more: str = "") -> None:
    """One line: how many stand in each state."""
    parts = [f"{state} {_number(counts, state, count)}" for state, count in states.items() if count]
    click.echo(f"{what}: {', '.join(parts) or 'none'}{more}")


def _number(counts: Counts, state: str, count: int) -> str:
    if state in counts.about:
        return f"about {count:,}"
    return f"{count:,} or more" if state in counts.at_least else str(count)


def event_counts(counts: Counts) -> None:
    """The counts of events, with their duplicates."""
    duplicates = f"; duplicates {counts.duplicates}" if counts.duplicates else ""
    print_counts(counts, "All events", counts.events, duplicates)
