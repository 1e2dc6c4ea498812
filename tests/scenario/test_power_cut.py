"""A power cut: the disk keeps what was synced to it, and nothing else.

The database is on an ext4 image whose kernel does not flush by itself (``commit=300``). The cut is a copy of the image,
taken while the process is stopped: what has not been synced is still in the page cache of the mounted file system and
not in the image. ``kill -9`` cannot show this, since the kernel keeps what a dead process has written.

    sudo .venv/bin/python -m pytest tests/scenario --power-cut -k power
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.scenario.backends import SQLITE_ONLY
from tests.scenario.checker import Rule
from tests.scenario.databases import SqliteDatabase
from tests.scenario.scene import Scene
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import order

pytestmark = [pytest.mark.power_cut, SQLITE_ONLY]

EVENTS = 600


class Disk:
    """An image, mounted at a folder."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "disk.img"
        self.copy = folder / "cut.img"
        self.folder = folder / "installation" / "disk"

    def make(self) -> None:
        """Make the file system and mount it. Raises CalledProcessError where that is not allowed."""
        self.folder.mkdir()
        run("truncate", "-s", "256M", self.image)
        run("mkfs.ext4", "-q", "-F", self.image)
        self._mount(self.image)

    def snapshot(self) -> None:
        """The power cut: keep what the disk holds at this moment."""
        run("cp", "--sparse=always", self.image, self.copy)

    def power_on(self) -> None:
        """Mount what was kept; the file system's own journal is replayed here."""
        self.unmount()
        self._mount(self.copy)

    def unmount(self) -> None:
        run("umount", self.folder)

    def _mount(self, image: Path) -> None:
        run("mount", "-o", "loop,commit=300", image, self.folder)


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture
async def disk(scene: Scene, tmp_path: Path) -> AsyncIterator[Disk]:
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    disk = Disk(tmp_path)
    try:
        disk.make()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine does not allow it: {error.cmd[0]}: {error.stderr.strip()}")
    yield disk
    await scene.server.kill()
    disk.unmount()


async def test_acknowledged_events_survive_a_power_cut(scene: Scene, disk: Disk) -> None:
    assert await rules_broken_by_a_cut(scene, disk, "FULL") == set()


async def test_the_test_sees_the_loss_with_synchronous_normal(scene: Scene, disk: Disk) -> None:
    assert Rule.LOST in await rules_broken_by_a_cut(scene, disk, "NORMAL")


async def rules_broken_by_a_cut(scene: Scene, disk: Disk, synchronous: str) -> set[Rule]:
    """Cut the power in the middle of the load, start again, and ask the checker."""
    server = scene.server
    server.configure(database=f"sqlite:///disk/surehook.db?synchronous={synchronous}")
    server.database = SqliteDatabase(disk.folder / "surehook.db")
    await server.start()
    load = asyncio.create_task(scene.sender.post_all(order(f"o-{n}") for n in range(EVENTS)))
    await wait_until(lambda: scene.sender.acknowledged >= EVENTS // 2, "half of it is acknowledged", pause=0)
    server.signal(signal.SIGSTOP)
    disk.snapshot()
    await server.kill()
    disk.power_on()
    await load

    await server.start()
    await server.settled()
    assert await server.stop() == 0
    return {violation.rule for violation in scene.violations()}
