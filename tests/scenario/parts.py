"""Processes of one installation that have roles, ports and folders of their own, over the same database and queue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tests.scenario.backends import Backend
from tests.scenario.supervised import Supervised
from tests.scenario.waiting import wait_until


class Part(Supervised):
    """One process with some of the roles."""

    def __init__(
        self,
        folder: Path,
        backend: Backend,
        *roles: str,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        folder.mkdir()
        super().__init__(folder, environment)
        self.use(backend)
        self._roles = [f"--role={role}" for role in roles]

    async def start(self, *, until_ready: bool = True) -> None:
        """Run it, and wait until it says that it is ready: not every role has a port to ask."""
        (self.folder / "run.err").touch()
        before = len(self.lines("node.started"))
        await self.supervise(*self._roles, until_ready=False)
        if until_ready:
            await wait_until(lambda: self._starts() > before, f"{self.folder.name} is ready")

    def _starts(self) -> int:
        assert self.running.returncode is None, f"it ended with code {self.running.returncode}: {self.logs()}"
        return len(self.lines("node.started"))
