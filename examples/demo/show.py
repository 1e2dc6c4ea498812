"""What the demo shows: bars that move on a terminal, plain lines elsewhere, and the table at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

ANSWERS, DATABASE, RECEIVER = SOURCES = ("answers", "database", "receiver")


class Line(msgspec.Struct, frozen=True):
    """One number of the table: what it must be, and what each source says it is."""

    name: str
    expected: int
    seen: Mapping[str, int]

    @property
    def right(self) -> bool:
        """Whether every source saw what it must."""
        return bool(self.seen) and all(number == self.expected for number in self.seen.values())


class Show:
    """The output. Without a terminal it uses no control characters."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        columns = (
            TextColumn("{task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._bars: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """One line of the story."""
        self._console.print(text, markup=False)

    def bar(self, name: str, done: int, total: int) -> None:
        """Move a bar; the first call makes it."""
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._progress.task_ids[self._bars[name]], completed=done)

    def table(self, lines: Sequence[Line]) -> None:
        """The verdict."""
        table = Table(title="What was expected, and who saw what", title_justify="left")
        table.add_column("")
        for name in ("expected", *SOURCES):
            table.add_column(name, justify="right")
        table.add_column("")
        for line in lines:
            seen = (str(line.seen.get(source, "")) for source in SOURCES)
            verdict = "[green]ok[/]" if line.right else "[bold red]WRONG[/]"
            table.add_row(line.name, str(line.expected), *seen, verdict)
        self._console.print(table)
