"""``python -m examples.demo [--keep] [--folder DIR]``; exits 0 when every number is what it must be."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path

from examples.demo.play import Play
from examples.demo.show import Show
from examples.demo.stage import ROOT, DemoError, Stage

HINTS = """
It goes on running. Send it something of your own, or look around in another terminal:

  cd {folder} && . ./env
  surehook events list --state DEAD           # the replay suspect: seen, not run
  surehook events show ID                     # its history
  surehook messages list --json               # what was published, and what became of it
  surehook events replay ID --reason "why"    # run it again: a GitHub event would leave a second row, so say why

  webhooks    {url}/webhooks/github (and stripe, shopify)
  health      {url}/readyz
  deliveries  http://127.0.0.1:{receiver}/    # the receiver's latest
  database    {folder}/shop.db
  logs        {folder}/surehook.log

Ctrl-C ends it.
"""


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave it running to look around in, until Ctrl-C"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo", help="made anew at each start")
    arguments = parser.parse_args()
    try:
        return asyncio.run(run(arguments.folder, keep=arguments.keep))
    except DemoError as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


async def run(folder: Path, *, keep: bool) -> int:
    """Play it; 0 when every number was right and both processes ended well."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    stage = Stage(folder)
    began = time.monotonic()
    try:
        right = await perform(stage)
        print(f"{'All right' if right else 'NOT all right'}, after {time.monotonic() - began:.0f} s.")
        if keep:
            print(HINTS.format(folder=stage.folder, url=stage.url, receiver=stage.receiver), flush=True)
            await asyncio.Event().wait()
    finally:
        ends = await stage.stop()
    if failed := {name: status for name, status in ends.items() if status}:
        raise DemoError(f"ended with a status other than 0 when asked to stop: {failed}")
    return 0 if right else 1


async def perform(stage: Stage) -> bool:
    """Start everything, play, show the table."""
    stage.set_up()
    with Show() as show:
        show.say(f"Starting Surehook on SQLite, and a receiver, in {stage.folder} ...")
        await stage.start()
        lines = await Play(stage, show).perform()
    show.table(lines)
    return all(line.right for line in lines)


if __name__ == "__main__":
    sys.exit(main())
