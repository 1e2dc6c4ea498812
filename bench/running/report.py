"""From rounds to tables, files and verdicts: every figure is the median of the rounds, beside the lowest and the highest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.markup import escape
from rich.table import Table

from bench.report import Column, Spread, Variant
from bench.scaled.report import machine

RESULTS = Path(__file__).with_name("results")


class Sample(msgspec.Struct, frozen=True):
    """One verified run of one variant."""

    #: How many events were counted as done: in the database, and where they go on, by the receiver.
    verified: int
    figures: Mapping[str, float]


class Target(msgspec.Struct, frozen=True):
    """What a figure of a variant is to be, alone or beside that of another one in the same round."""

    text: str
    variant: str
    figure: str
    limit: float
    beside: str | None = None
    #: Of the other one; the same by default.
    other: str | None = None
    #: Whether the other figure is taken away; else it divides.
    minus: bool = False
    at_least: bool = False


class Series(msgspec.Struct, frozen=True):
    """Variants in turns. ``rounds`` holds a sample of each, in their order."""

    title: str
    variants: tuple[Variant, ...]
    columns: tuple[Column, ...]
    rounds: tuple[tuple[Sample, ...], ...]
    targets: tuple[Target, ...] = ()

    def values(self, variant: str, figure: str) -> list[float]:
        """One for each round; none where that variant has no such figure."""
        place = [each.name for each in self.variants].index(variant)
        samples = [samples[place] for samples in self.rounds]
        return [sample.figures[figure] for sample in samples if figure in sample.figures]


class Verdict(msgspec.Struct, frozen=True):
    """What became of a target: the figure, the ratio or the difference, and whether its median is within the limit."""

    text: str
    spread: Spread
    limit: float
    holds: bool

    def line(self) -> str:
        """For people."""
        return f"{'holds' if self.holds else 'FALLS SHORT'}: {self.text}: {_figure(self.spread, 2)}; limit {self.limit:g}"


def judge(series: Series) -> list[Verdict]:
    """Each target of a series."""
    return [_judge(series, target) for target in series.targets]


def _judge(series: Series, target: Target) -> Verdict:
    values = series.values(target.variant, target.figure)
    if target.beside is not None:
        others = series.values(target.beside, target.other or target.figure)
        pairs = list(zip(values, others, strict=True))
        values = [one - two if target.minus else one / two for one, two in pairs]
    spread = Spread.over(values)
    holds = spread.median >= target.limit if target.at_least else spread.median <= target.limit
    return Verdict(target.text, spread, target.limit, holds)


def table_of(series: Series, command: str) -> Table:
    """A row for each variant; what it promises stands under its name."""
    table = Table(
        title=f"{command}\n{series.title}. Medians of {len(series.rounds)} rounds, \\[lowest..highest]",
        title_justify="left",
    )
    table.add_column("what, and its durability")
    for column in series.columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    for variant in series.variants:
        cells = (_cell(series.values(variant.name, column.name), column.digits) for column in series.columns)
        table.add_row(f"{escape(variant.name)}\n({escape(variant.durability)})", *cells)
    return table


def _cell(values: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    text = _figure(Spread.over(values), digits)
    return escape(text.replace(" ", "\n")) if len(values) > 1 else text.partition(" ")[0]


def _figure(spread: Spread, digits: int) -> str:
    return f"{spread.median:,.{digits}f} [{spread.low:,.{digits}f}..{spread.high:,.{digits}f}]"


def write(part: str, command: str, found: Sequence[Series], folder: Path, *, quick: bool) -> None:
    """Keep everything in a file; git ignores the usual folder."""
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "command": command,
        "quick": quick,
        "machine": machine(),
        part: [
            msgspec.to_builtins(series) | {"verdicts": msgspec.to_builtins(judge(series))} for series in found
        ],
    }
    (folder / f"{part}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
