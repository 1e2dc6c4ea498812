"""``python -m examples.demo [--profile embedded|scaled] [--keep] [--folder DIR]``

Exits 0 when every number is what it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from examples.demo.play import Play
from examples.demo.scaled import ScaledPlay, ScaledStage
from examples.demo.show import Show
from examples.demo.stage import ROOT, DemoError, Stage

HINTS = """
It goes on running. Look around in another terminal:

  cd {folder} && . ./env
  surehook events list --state DEAD                  # the replay suspect: stored, not run
  surehook events list --type 'invoice.*' --json
  surehook events show ID                            # its timeline, failures, messages, headers, body
  surehook messages list --destination warehouse
  surehook rejections list                           # the forgeries
  surehook audit list                                # the replay, and why
  surehook send github --type issues.opened --duplicate
  surehook send stripe --forge

  webhooks    {url}/webhooks/github, /stripe, /shopify
  health      {url}/readyz
  deliveries  http://127.0.0.1:{receiver}/  (the receiver's latest)
  database    {database}
  logs        {folder}/*.log

Ctrl-C ends it.
"""


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        default="embedded",
        help="embedded: one process and SQLite; scaled: several, PostgreSQL and Redis, and one is killed",
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave it running to look around in, until Ctrl-C"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo", help="made anew at each start")
    arguments = parser.parse_args()
    try:
        return asyncio.run(PROFILES[arguments.profile](arguments.folder, arguments.keep))
    except DemoError as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


async def embedded(folder: Path, keep: bool) -> int:
    """One process, SQLite."""
    stage = Stage(folder)
    return await run(stage, lambda show: Play(stage, show), keep=keep)


async def scaled(folder: Path, keep: bool) -> int:
    """Many processes, PostgreSQL and Redis."""
    stage = ScaledStage(folder)
    return await run(stage, lambda show: ScaledPlay(stage, show), keep=keep)


PROFILES = {"embedded": embedded, "scaled": scaled}


async def run(stage: Stage, play: Callable[[Show], Play], *, keep: bool) -> int:
    """Play it; 0 when every number was right and all processes ended well."""
    began = time.monotonic()
    try:
        cancel_on_sigterm()
        right = await perform(stage, play)
        print(
            f"{'All right' if right else 'NOT all right'}, after {time.monotonic() - began:.0f} s.",
            flush=True,
        )
        if keep:
            print(hints(stage), flush=True)
            await interrupted()
    finally:
        ends = await stage.stop()
    if failed := {name: status for name, status in ends.items() if status}:
        raise DemoError(f"ended with a status other than 0 when asked to stop: {failed}")
    return 0 if right else 1


def hints(stage: Stage) -> str:
    """What there is to look at."""
    return HINTS.format(
        folder=stage.folder, url=stage.url, receiver=stage.receiver, database=stage.database_name
    )


def cancel_on_sigterm() -> None:
    """SIGTERM ends the demo as Ctrl-C does: nothing is left running."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def interrupted() -> None:
    """Wait for Ctrl-C or SIGTERM, which are the ordinary end here."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def perform(stage: Stage, play: Callable[[Show], Play]) -> bool:
    """Start everything, play, show the table."""
    stage.set_up()
    with Show() as show:
        await stage.start(show.say)
        lines = await play(show).perform()
    show.table(lines)
    return all(line.right for line in lines)


if __name__ == "__main__":
    sys.exit(main())
