"""``python -m examples.demo [--keep] [--folder DIR]``; exits 0 when every number is what it must be."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path

from examples.demo.play import Play
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
  database    {folder}/shop.db
  log         {folder}/surehook.log

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
    stage = Stage(folder)
    began = time.monotonic()
    try:
        cancel_on_sigterm()
        right = await perform(stage)
        print(
            f"{'All right' if right else 'NOT all right'}, after {time.monotonic() - began:.0f} s.",
            flush=True,
        )
        if keep:
            print(HINTS.format(folder=stage.folder, url=stage.url, receiver=stage.receiver), flush=True)
            await interrupted()
    finally:
        ends = await stage.stop()
    if failed := {name: status for name, status in ends.items() if status}:
        raise DemoError(f"ended with a status other than 0 when asked to stop: {failed}")
    return 0 if right else 1


def cancel_on_sigterm() -> None:
    """SIGTERM ends the demo as Ctrl-C does: nothing is left running."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def interrupted() -> None:
    """Wait for Ctrl-C or SIGTERM, which are the ordinary end here."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


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
