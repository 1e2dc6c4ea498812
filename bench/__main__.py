"""``python -m bench [--quick]``: every comparison, a table, and ``bench/results.json``.

``python -m bench scaled`` measures the scaled profile instead, ``python -m bench peers`` other tools on the same work,
``python -m bench running`` Surehook at a given rate, in all its roles at once and over time; each takes ``--help``. The
parts of the last one need no ``running``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import report, suite
from bench.peers.__main__ import main as peers
from bench.processes import BenchError
from bench.running.__main__ import PARTS
from bench.running.__main__ import main as running
from bench.scaled.__main__ import main as scaled

HERE = Path(__file__).parent


def main(arguments: Sequence[str]) -> int:
    """0 when every run was verified, 1 when one was not: then there are no numbers."""
    others = {"scaled": scaled, "peers": peers, "running": running}
    match arguments:
        case [name, *rest] if name in others:
            return others[name](rest)
        case [part, *_] if part in PARTS:
            return running(arguments)
    return embedded(arguments)


def embedded(given: Sequence[str]) -> int:
    """SQLite and one process."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one small round: shows that it works, measures nothing"
    )
    parser.add_argument(
        "--folder", type=Path, default=HERE, help="where the databases are: the disk that is measured"
    )
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="the file that is written")
    arguments = parser.parse_args(given)
    console = Console(highlight=False, soft_wrap=True)
    sizes = suite.QUICK if arguments.quick else suite.NORMAL
    try:
        with tempfile.TemporaryDirectory(prefix=".run-", dir=arguments.folder) as folder:
            comparisons = suite.Suite(Path(folder).resolve(), sizes, console.print).everything()
    except BenchError as error:
        print(f"no result: {error}", file=sys.stderr)
        return 1
    report.show(comparisons, console)
    report.write(comparisons, arguments.results, quick=arguments.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
