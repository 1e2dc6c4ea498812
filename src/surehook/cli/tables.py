"""Tables that fit their terminal without cutting what the next command needs.

rich is imported where something is drawn: it costs more than everything else in most commands.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Final

import click

from surehook.telemetry import printable

#: Width of tables that go into a file or pipe, where nobody wants lines to be wrapped.
_WIDE: Final = 500
#: The least width of a column whose words are longer; ids are never folded.
_NARROW: Final = 16
#: Columns of space between two columns.
_GAP: Final = 2
_ID: Final = re.compile(r"[a-z]+_[0-9a-z]{26}")

_STYLES: Final = {
    "DEAD": "red",
    "RETRYING": "yellow",
    "PROCESSED": "green",
    "SENT": "green",
    "IGNORED": "dim",
    "DISCARDED": "dim",
    "failed": "red",
}


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    colour: bool,
    empty: str,
    spare: Sequence[str] = (),
) -> None:
    """A table on stdout, or a sentence when there is nothing in it.

    Where the terminal is too narrow, the columns of ``spare`` are left out one after another, then cells are folded; ids
    are whole always.
    """
    lines = [[_text(value) for value in row] for row in rows]
    if not lines:
        click.echo(empty)
        return
    cells = {name: [line[index] for line in lines] for index, name in enumerate(columns)}
    width = _terminal_width()
    for name in spare:
        if _needed(cells) > width:
            cells.pop(name, None)
    _print(_table(cells), width=max(width, _needed(cells)), colour=colour)


def print_pairs(pairs: Iterable[tuple[str, object]], *, colour: bool) -> None:
    """Names and values, one a line; values that are None or empty are left out."""
    from rich.table import Table  # noqa: PLC0415 - see above

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, ""):
            table.add_row(_cell(name, "bold"), _cell(_text(value)))
    _print(table, width=_terminal_width(), colour=colour)


def _table(cells: dict[str, list[str]]) -> Any:
    from rich import box  # noqa: PLC0415 - see above
    from rich.table import Table  # noqa: PLC0415 - see above

    # the box itself puts one space between two columns
    padding = (0, _GAP - 1, 0, 0)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=padding, header_style="bold")
    for name, column in cells.items():
        least = _least(name, column)
        whole = max(map(len, [name, *column])) == least
        table.add_column(name, no_wrap=whole, min_width=least, overflow="fold")
    for line in zip(*cells.values(), strict=True):
        table.add_row(*map(_cell, line))
    return table


def _needed(cells: dict[str, list[str]]) -> int:
    """The least width of a table."""
    return sum(_least(name, column) + _GAP for name, column in cells.items()) - _GAP


def _least(name: str, column: Sequence[str]) -> int:
    """The least width of a column: that of its ids, or of its longest word, up to a limit."""
    words = [word for cell in [name, *column] for word in cell.split()]
    return max(len(word) if _ID.fullmatch(word.rstrip(",")) else min(len(word), _NARROW) for word in words)


def _terminal_width() -> int:
    from rich.console import Console  # noqa: PLC0415 - see above

    return Console().width if sys.stdout.isatty() else _WIDE


def _text(value: object) -> str:
    return printable("" if value is None else str(value.value if isinstance(value, Enum) else value))


def _cell(text: str, style: str = "") -> Any:
    from rich.text import Text  # noqa: PLC0415 - see above

    return Text(text, style or _STYLES.get(text, ""))


def _print(what: object, *, width: int, colour: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - see above

    Console(no_color=not colour, width=width, highlight=False).print(what)
