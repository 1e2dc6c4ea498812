"""``python -m bench PART``: Surehook as it runs: tables, verdicts and ``bench/running/results``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import msgspec
from rich.console import Console

from bench.processes import BenchError
from bench.running import (
    arrivals,
    beside,
    footprint,
    half,
    idle,
    pipeline,
    report,
    startup,
    steady,
    vacuum,
    ways,
)
from bench.running.report import Series
from bench.running.stores import FileStore, ServerStore, Store
from bench.scaled.ground import Ground, open_ground
from surehook.errors import SurehookError

#: Wide enough for every table, where the output is no terminal.
WIDTH = 180


class Options(msgspec.Struct, frozen=True):
    """What was asked for."""

    quick: bool
    full: bool
    rounds: int | None
    minutes: float | None
    folder: Path


class Place(msgspec.Struct, frozen=True):
    """Where it is measured."""

    ground: Ground
    file: FileStore
    server: ServerStore

    @property
    def stores(self) -> list[Store]:
        """Both kinds of database."""
        return [self.file, self.server]


Sized = TypeVar("Sized", bound=msgspec.Struct)


def of(options: Options, normal: Sized, quick: Sized) -> Sized:
    """The sizes that were asked for."""
    sizes = quick if options.quick else normal
    return msgspec.structs.replace(sizes, rounds=options.rounds) if options.rounds else sizes


Part = Callable[[Place, Options, Callable[[str], None]], Sequence[Series]]


def _half(place: Place, options: Options, say: Callable[[str], None]) -> Sequence[Series]:
    return half.HalfSuite(place.stores, of(options, half.NORMAL, half.QUICK), say).everything()


def _beside(place: Place, options: Options, say: Callable[[str], None]) -> Sequence[Series]:
    return beside.BesideSuite(place.file, of(options, beside.NORMAL, beside.QUICK), say).everything()


def _arrivals(place: Place, options: Options, say: Callable[[str], None]) -> Sequence[Series]:
    sizes = of(options, arrivals.NORMAL, arrivals.QUICK)
    return arrivals.ArrivalSuite(place.stores, sizes, say).everything()


def _pipeline(place: Place, options: Options, say: Callable[[str], None]) -> Sequence[Series]:
    chosen = [ways.embedded(place.file), ways.scaled(place.ground, place.server, redis=True)]
    if not options.quick:
        chosen[1:1] = [ways.apart(place.file), ways.scaled(place.ground, place.server)]
    sizes = of(options, pipeline.NORMAL, pipeline.QUICK)
    return pipeline.PipelineSuite(place.file, chosen, sizes, say).everything()


def _idle(place: Place, options: Options, say: Callable[[str], None]) -> Sequence[Series]:
    both = [ways.embedded(place.file), ways.scaled(place.ground, place.server)]
    return idle.IdleSuite(both, of(options, idle.NORMAL, idle.QUICK), say).everything()


def _footprint(place: Place, options: Options, say: Callable[[str], None]) -> Sequence[Series]:
    both = [ways.embedded(place.file), ways.scaled(place.ground, place.server)]
    return footprint.FootprintSuite(both, of(options, footprint.NORMAL, footprint.QUICK), say).everything()


def _startup(place: Place, options: Options, say: Callable[[str], None]) -> Sequence[Series]:
    sizes = of(options, startup.NORMAL, startup.QUICK)
    return startup.StartupSuite(options.folder, place.stores, sizes, say).everything()


def _steady(place: Place, options: Options, say: Callable[[str], None]) -> Sequence[Series]:
    chosen = [ways.embedded(place.file)]
    if not options.quick:
        chosen.append(ways.scaled(place.ground, place.server))
    sizes = steady.QUICK if options.quick else steady.NORMAL
    if options.minutes:
        sizes = msgspec.structs.replace(sizes, minutes=options.minutes)
    return steady.SteadySuite(chosen, sizes, say).everything()


def _vacuum(place: Place, options: Options, say: Callable[[str], None]) -> Sequence[Series]:
    sizes = vacuum.QUICK if options.quick else vacuum.FULL if options.full else vacuum.NORMAL
    return vacuum.VacuumSuite(place.server, sizes, say).everything()


PARTS: Mapping[str, Part] = {
    "half": _half,
    "beside": _beside,
    "arrivals": _arrivals,
    "pipeline": _pipeline,
    "idle": _idle,
    "footprint": _footprint,
    "startup": _startup,
    "steady": _steady,
    "vacuum": _vacuum,
}


def main(arguments: Sequence[str]) -> int:
    """0 when every run was verified, 1 when one was not: then there are no numbers of that part and those after it.

    A figure that misses its limit is reported, and changes nothing of that.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them by default"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one small round: shows that it works, measures nothing"
    )
    parser.add_argument("--full", action="store_true", help="growth with 1,000,000 events: takes long")
    parser.add_argument("--rounds", type=int, help="more of them show a difference on a machine that is busy")
    parser.add_argument("--minutes", type=float, help="how long memory is watched under a steady load")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(__file__).parents[1],
        help="where files of SQLite are; PostgreSQL's are where temporary files are (TMPDIR)",
    )
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="the folder that is written")
    given = parser.parse_args(arguments)
    if unknown := [part for part in given.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    return run(given, given.parts or list(PARTS))


def run(given: argparse.Namespace, parts: Sequence[str]) -> int:
    """One part after the other; each shows its tables and writes its file as soon as it has ended."""
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)
    try:
        with ExitStack() as stack:
            ground = stack.enter_context(open_ground())
            temporary = tempfile.TemporaryDirectory(prefix=".run-", dir=given.folder)
            folder = Path(stack.enter_context(temporary)).resolve()
            options = Options(given.quick, given.full, given.rounds, given.minutes, folder)
            place = Place(ground, FileStore(folder), ServerStore(ground))
            for part in parts:
                found = PARTS[part](place, options, console.print)
                show(console, found, command_of(part, given))
                report.write(part, command_of(part, given), found, given.results, quick=given.quick)
    except (BenchError, SurehookError, TimeoutError) as error:
        print(f"no result: {error}", file=sys.stderr)
        return 1
    return 0


def show(console: Console, found: Sequence[Series], command: str) -> None:
    """Tables, and below each of them what became of its targets."""
    for series in found:
        console.print(report.table_of(series, command))
        for verdict in report.judge(series):
            console.print(verdict.line(), markup=False)


def command_of(part: str, given: argparse.Namespace) -> str:
    """What makes these numbers again."""
    flags = [f" --{name}" for name in ("quick", "full") if getattr(given, name)]
    flags += [f" --{name} {getattr(given, name):g}" for name in ("rounds", "minutes") if getattr(given, name)]
    return f"python -m bench {part}{''.join(flags)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
