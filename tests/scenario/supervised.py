"""An installation that runs as many processes under a supervisor."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.scenario.installation import Installation
from tests.scenario.waiting import wait_until


class Supervised(Installation):
    """``self.process`` is the supervisor; the processes under it are found by asking the system."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(folder, environment)
        #: Every process that was ever seen, by its pid, and its slot.
        self._seen: dict[int, tuple[psutil.Process, int]] = {}

    async def supervise(self, *arguments: str, until_ready: bool = True) -> None:
        """Run it with these arguments, and wait until all processes are ready."""
        with (self.folder / "run.out").open("ab") as out, (self.folder / "run.err").open("ab") as err:
            self.process = await self._spawn("run", *arguments, stdout=out, stderr=err)
        if until_ready:
            await wait_until(self.all_ready, "all processes are ready")

    def all_ready(self) -> bool:
        """Whether the supervisor says so. Raises AssertionError when it has ended."""
        assert self.running.returncode is None, f"it ended with code {self.running.returncode}: {self.logs()}"
        return bool(self.lines("supervisor.ready"))

    def children(self) -> list[psutil.Process]:
        """The processes that live now, but for what is dead and not yet noticed, in the order of their slots."""
        found = psutil.Process(self.running.pid).children() if self.running.returncode is None else []
        living = [child for child in found if self._recognise(child)]
        return sorted(living, key=self.slot)

    def slot(self, child: psutil.Process) -> int:
        """Which one of the processes it is, or was."""
        return self._seen[child.pid][1]

    def _recognise(self, child: psutil.Process) -> bool:
        """Whether it lives; where it is new, what it was started for is remembered."""
        try:
            if child.status() == psutil.STATUS_ZOMBIE:
                return False
            if child.pid not in self._seen:
                self._seen[child.pid] = (child, int(json.loads(child.environ()["_SUREHOOK_SLOT"])["number"]))
        except (psutil.NoSuchProcess, KeyError):  # it has ended, or is not yet what it will be
            return False
        return True

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What the log says under this name."""
        text = (self.folder / "run.err").read_text(errors="replace")
        documents = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [document for document in documents if document.get("event") == event]

    async def replaced(self, old: psutil.Process) -> psutil.Process:
        """Wait until another process is ready in the slot of one; returns it."""
        slot = self.slot(old)

        def ready() -> list[psutil.Process]:
            started = {line["pid"] for line in self.lines("node.started") if line["slot"] == slot}
            return [child for child in self.children() if child.pid in started - {old.pid}]

        [new] = await wait_until(ready, f"slot {slot} has another process that is ready")
        return new

    def leftovers(self) -> list[psutil.Process]:
        """The processes that live of all that were ever seen, whether the supervisor lives or not."""
        return [child for child, _ in self._seen.values() if child.is_running()]

    async def kill_all(self) -> None:
        """``kill -9`` for the supervisor and all processes under it."""
        if self.process is not None:
            self.children()
            await self.kill()
        for child in self.leftovers():
            child.send_signal(signal.SIGKILL)
