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
from pathlib import Path

import aiohttp
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
    """Surehook and the receiver as processes of their own, over a folder that is made anew at each start."""

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

    def set_up(self) -> None:
        """Make the folder: the shop, its configuration with this run's ports, this run's secrets."""
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
        self._write_configuration()
        self._write_environment()
        self.outage.touch()

    def _write_configuration(self) -> None:
        text = (SHOP / "surehook.toml").read_text(encoding="utf-8")
        for usual, port in zip(PORTS, (self.port, self.console, self.receiver), strict=True):
            text = text.replace(str(usual), str(port))
        (self.folder / "surehook.toml").write_text(text, encoding="utf-8")

    def _write_environment(self) -> None:
        """For a shell that wants to look around with ``surehook``: its path, and this run's secrets."""
        lines = [f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()]
        file = self.folder / "env"
        file.touch(mode=0o600)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    async def start(self) -> None:
        """Start both processes and wait until both answer."""
        here = ("--port", str(self.receiver), "--folder", str(self.folder))
        await self._start("receiver", "-m", "examples.demo.receiver", *here)
        await self._start("surehook", "-m", "surehook", "--config", "surehook.toml", "run")
        await self._answers("receiver", f"http://127.0.0.1:{self.receiver}/")
        await self._answers("surehook", f"{self.url}/readyz")

    async def _start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes[name] = await asyncio.create_subprocess_exec(
                *(sys.executable, *arguments),
                cwd=self.folder,
                env=self._env(),
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends the others in order
            )

    def _env(self) -> dict[str, str]:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return os.environ | self.environment | {"PYTHONPATH": os.pathsep.join(paths)}

    async def _answers(self, name: str, url: str) -> None:
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
        raise DemoError(f"{name} does not answer on {url}\n{self.log_end(name)}")

    def check(self) -> None:
        """Raise DemoError when one of the processes has ended."""
        for name, process in self._processes.items():
            if process.returncode is not None:
                raise DemoError(f"{name} ended with status {process.returncode}\n{self.log_end(name)}")

    def log_end(self, name: str) -> str:
        """The last lines of a process's log."""
        lines = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"The end of {name}.log:", *lines[-20:]])

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
        """End both, Surehook first, as a service manager would; returns the exit status of each."""
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
