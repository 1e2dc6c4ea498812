"""The processes of the demo and the folder they run in."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
from examples.demo.evidence import Database, open_file
from examples.demo.receiver import OUTAGE

ROOT = Path(__file__).parents[2]
SHOP = Path(__file__).parents[1] / "shop"
#: Shows that the folder is one that the demo made and may make anew.
MARK = ".made-by-the-demo"
#: Ports of the shop's configuration: Surehook, its console, the receiver. Taken when free, else others.
PORTS = (8080, 8081, 9080)


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class Stage:
    """Surehook and the receiver as processes of their own, over a folder that is made anew at each start.

    Here it is the embedded profile: one process of Surehook, and SQLite.
    """

    #: What runs, in words.
    cast = "Surehook on SQLite, and a receiver"

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.port, self.console, self.receiver = free_ports()
        self.secrets = {name: secrets.token_hex(24) for name in ("github", "stripe", "shopify")}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        keys = {
            name: "whsec_" + base64.b64encode(os.urandom(32)).decode()
            for name in ("chat", "ledger", "warehouse")
        }
        self.environment = {f"{name.upper()}_SECRET": value for name, value in (self.secrets | keys).items()}
        self.environment["SHOP_CARRIER_URL"] = f"http://127.0.0.1:{self.receiver}/carrier/labels"

    @property
    def url(self) -> str:
        """Where Surehook takes webhooks."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def outage(self) -> Path:
        """While this file exists the warehouse answers 503."""
        return self.folder / OUTAGE

    @property
    def database_name(self) -> str:
        """Where the events are, for a person who wants to look."""
        return str(self.folder / "shop.db")

    def open_database(self) -> Database:
        """A look into the database from outside."""
        return open_file(self.folder / "shop.db")

    def set_up(self) -> None:
        """Make the folder, with the shop in it. Raises DemoError when it holds something of somebody else's."""
        if self.folder.exists():
            if not (self.folder / MARK).exists() and any(self.folder.iterdir()):
                raise DemoError(
                    f"{self.folder} holds something that the demo did not make: name another with --folder"
                )
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        (self.folder / MARK).touch()
        for name in ("app.py", "tax_rates.json"):
            shutil.copy(SHOP / name, self.folder)
        self.outage.touch()

    def configuration(self) -> str:
        """The shop's own, with this run's ports."""
        text = (SHOP / "surehook.toml").read_text(encoding="utf-8")
        for usual, port in zip(PORTS, (self.port, self.console, self.receiver), strict=True):
            text = text.replace(str(usual), str(port))
        return text

    def _write_environment(self) -> None:
        """For a shell that wants to look around with ``surehook``: its path, and this run's secrets."""
        lines = [f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()]
        file = self.folder / "env"
        file.touch(mode=0o600)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    async def start(self, say: Callable[[str], None]) -> None:
        """Write what they need, start all processes and wait until they can work; ``say`` tells what takes long."""
        say(f"Starting {self.cast}, in {self.folder} ...")
        (self.folder / "surehook.toml").write_text(self.configuration(), encoding="utf-8")
        self._write_environment()
        here = ("--port", str(self.receiver), "--folder", str(self.folder))
        await self._start("receiver", "-m", "examples.demo.receiver", *here)
        await self.start_surehook()
        await self.answers("receiver", f"http://127.0.0.1:{self.receiver}/")

    async def start_surehook(self) -> None:
        """Start it, and wait until it can work."""
        await self.run("surehook")
        await self.answers("surehook", f"{self.url}/readyz")

    async def run(self, name: str, *arguments: str) -> int:
        """``surehook run`` with these arguments, under a name of ours; returns its process id."""
        return await self._start(name, "-m", "surehook", "--config", "surehook.toml", "run", *arguments)

    async def _start(self, name: str, *arguments: str) -> int:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes[name] = await asyncio.create_subprocess_exec(
                *(sys.executable, *arguments),
                cwd=self.folder,
                env=self._env(),
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends the others in order
            )
        return self._processes[name].pid

    def _env(self) -> dict[str, str]:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return os.environ | self.environment | {"PYTHONPATH": os.pathsep.join(paths)}

    async def answers(self, name: str, url: str) -> None:
        """Wait for a 200. Raises DemoError when it does not come."""
        async with aiohttp.ClientSession() as session:
            for _ in range(600):
                self.check()
                try:
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.05)
        raise DemoError(f"{name} does not answer on {url}\n{self.log_ends()}")

    def check(self) -> None:
        """Raise DemoError when one of the processes has ended."""
        for name, process in self._processes.items():
            if process.returncode is not None:
                raise DemoError(f"{name} ended with status {process.returncode}\n{self.log_ends()}")

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def log_ends(self) -> str:
        """The last lines of every log."""
        ends = [[f"The end of {name}.log:", *self.log(name).splitlines()[-20:]] for name in self._processes]
        return "\n".join(line for end in ends for line in end)

    async def command(self, *arguments: str) -> str:
        """Run ``surehook`` as a user would; returns what it prints. Raises DemoError when it fails."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "surehook", "--config", "surehook.toml", *arguments),
            cwd=self.folder,
            env=self._env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        if process.returncode != 0:
            shown = " ".join(arguments)
            raise DemoError(
                f"surehook {shown} ended with status {process.returncode}: {err.decode().strip()}"
            )
        return out.decode()

    async def stop(self) -> dict[str, int]:
        """End all, the receiver last, as a service manager would; returns the exit status of each."""
        ends = {}
        for name, process in reversed(self._processes.items()):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            try:
                ends[name] = await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                process.kill()
                ends[name] = await process.wait()
        self._processes.clear()
        return ends


def free_ports() -> list[int]:
    """The ports of the configuration, those that are taken replaced by others that are free."""
    with contextlib.ExitStack() as probes:
        return [probe(probes.enter_context(socket.socket()), wanted) for wanted in PORTS]


def probe(listener: socket.socket, wanted: int) -> int:
    """Bind to ``wanted``, or to any free port when it is taken; returns the one it became."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", wanted))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    return int(listener.getsockname()[1])
