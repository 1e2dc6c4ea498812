"""An installation that runs as many processes, as several machines would run them, and somebody who kills them."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
import psutil

from tests.scenario.installation import Installation
from tests.scenario.waiting import wait_until

#: How many processes of each role.
ROLES: Final[Mapping[str, int]] = {"ingest": 2, "worker": 4, "publisher": 2}

#: How supervisors may end before they are told to: killed, or unable to begin while the database is down.
EXCUSED: Final = frozenset({-signal.SIGKILL, 1})


class Member(msgspec.Struct, frozen=True):
    """A living process of the installation."""

    process: psutil.Process
    role: str
    #: Whether it is the parent of the others of its role.
    supervises: bool

    @property
    def name(self) -> str:
        """What is counted: all processes that do the same."""
        return f"{self.role} supervisor" if self.supervises else self.role


class Cluster:
    """Each role under a supervisor of its own, which is started again when it ends, as a service manager does."""

    def __init__(self, server: Installation, roles: Mapping[str, int] = ROLES) -> None:
        self._server = server
        self._roles = roles
        self._supervisors: dict[str, Process] = {}
        self._keeping: list[asyncio.Task[None]] = []
        self._stopping = False
        #: How supervisors have ended so far.
        self.ends: Counter[int] = Counter()

    async def __aenter__(self) -> Self:
        """Run everything and wait until all of it is ready."""
        for role in self._roles:
            await self._start(role)
            self._keeping.append(asyncio.create_task(self._keep(role)))
        await wait_until(self._all_ready, "all supervisors say that all their processes are ready", within=60)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End whatever still runs, by force."""
        for task in self._keeping:
            task.cancel()
        await wait_until(self._kill_all, "all processes are gone", pause=0.1)
        await asyncio.gather(*(process.wait() for process in self._supervisors.values()))
        sys.stdout.write(self._server.logs())  # pytest shows it when the scenario fails

    def members(self) -> list[Member]:
        """Whatever runs of it, found by asking the system."""
        return list(self._members())

    def told(self, event: str) -> int:
        """How often anybody has logged something under this name."""
        return sum(log.read_text(errors="replace").count(f'"event":"{event}"') for log in self._logs())

    async def stop(self) -> list[int]:
        """SIGTERM for the supervisors; returns their exit codes when they have ended."""
        self._stopping = True
        for process in self._supervisors.values():
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await asyncio.gather(*self._keeping)
        return [await process.wait() for process in self._supervisors.values()]

    async def _start(self, role: str) -> None:
        arguments = (f"--role={role}", f"--processes={self._roles[role]}")
        self._supervisors[role] = await self._server.run(*arguments, log=f"run.{role}")

    async def _keep(self, role: str) -> None:
        while True:
            code = await self._supervisors[role].wait()
            if self._stopping:
                return
            self.ends[code] += 1
            # its processes notice that it is gone, finish what they have begun and end by themselves
            await wait_until(
                lambda: not self._orphans(role), f"orphans of {role} are gone", within=60, pause=0.1
            )
            await self._start(role)

    def _orphans(self, role: str) -> list[Member]:
        return [each for each in self._members() if each.role == role]

    def _all_ready(self) -> bool:
        return self.told("supervisor.ready") == len(self._roles)

    def _logs(self) -> list[Path]:
        return [self._server.folder / f"run.{role}.err" for role in self._roles]

    def _kill_all(self) -> bool:
        members = self.members()
        for each in members:
            with suppress(psutil.NoSuchProcess):
                each.process.kill()
        return not members

    def _members(self) -> Iterator[Member]:
        folder = str(self._server.folder)
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                command = process.cmdline()
                role = next((role for role in self._roles if f"--role={role}" in command), None)
                if role is not None and process.cwd() == folder:
                    yield Member(process, role, any(word.startswith("--processes=") for word in command))


class Killer:
    """``kill -9`` for members by chance; every so often for a supervisor, whose processes then have to end by themselves."""

    def __init__(self, cluster: Cluster, chance: random.Random, *, supervisor_every: int) -> None:
        """``supervisor_every``: one in so many kills is for a supervisor, of each role in turn. Its successor knows nothing
        of how often its processes have died before, and no longer waits ever longer to start them again."""
        self._cluster = cluster
        self._chance = chance
        self._every = supervisor_every
        self._turns = itertools.cycle(chance.sample([*ROLES], len(ROLES)))
        #: By the name of what was killed.
        self.killed: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Processes that were killed so far."""
        return self.killed.total()

    def kill(self) -> None:
        """Kill one of what lives now, if anything does."""
        living = self._cluster.members()
        if self.count % self._every == self._every - 1:
            role = next(self._turns)
            victims = [each for each in living if each.supervises and each.role == role]
        else:
            victims = [each for each in living if not each.supervises]
        if not victims:
            return
        victim = self._chance.choice(victims)
        with suppress(psutil.NoSuchProcess):
            victim.process.kill()
            self.killed[victim.name] += 1
