"""What commands print besides tables: text for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec

from surehook.clock import isoformat
from surehook.ids import EVENT_PREFIX, typeid
from surehook.telemetry import printable

Result = TypeVar("Result")


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def public(row: msgspec.Struct, prefix: str = EVENT_PREFIX, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """A row as programs get it: ids as TypeIDs (``id`` with ``prefix``), times as RFC 3339, other bytes in hex."""
    return {
        name: _json_value(name, getattr(row, name), prefix)
        for name in row.__struct_fields__
        if name not in without
    }


def moment(at: int | None) -> str:
    """A time as people read it, in UTC."""
    return "" if at is None else isoformat(at).replace("T", " ")


def print_title(text: str, *, colour: bool) -> None:
    """The head of a part."""
    click.secho(f"\n{printable(text)}", bold=colour or None)


def print_block(text: str) -> None:
    """A text of several lines, indented, with nothing in it that a terminal would obey."""
    for line in text.splitlines():
        click.echo(f"    {printable(line)}")


def with_progress(label: str, total: int, work: Callable[[Callable[[int], None]], Result]) -> Result:
    """Run ``work`` with a function that takes steps; on a terminal a bar on stderr shows them."""
    if total < 2 or not sys.stderr.isatty():
        return work(lambda steps: None)
    from rich.console import Console  # noqa: PLC0415 - it costs more than everything else in most commands
    from rich.progress import Progress  # noqa: PLC0415 - see above

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total)
        return work(lambda steps: progress.advance(task, steps))


def _json_value(name: str, value: Any, prefix: str) -> Any:
    if isinstance(value, bytes) and name in {"id", "event_id"}:
        return typeid(EVENT_PREFIX if name == "event_id" else prefix, value)
    if isinstance(value, int) and (name == "at" or name.endswith(("_at", "_until"))):
        return isoformat(value)
    if isinstance(value, msgspec.Struct):
        return public(value)
    return value.hex() if isinstance(value, bytes) else value
