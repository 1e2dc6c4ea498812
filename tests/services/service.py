"""What all private servers have in common: a folder, a port, a process, and ways to hurt it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import psutil

from tests.services.ports import free_port
from tests.services.waiting import until

#: Whom servers run as when the tests run as root: PostgreSQL and PgBouncer refuse root.
UNPRIVILEGED = "nobody"
#: All that a server sees of the environment, so that no PG... variable of the user's changes it.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


class ServiceError(Exception):
    """A server did not do what it was told; the message ends with the end of its log."""


class Service(ABC):
    """A server in a folder of its own, on a port of its own on 127.0.0.1.

    It ends, with all of its children, at the latest when this process ends, even by SIGKILL; its folder goes with
    it. All methods block; they may be called from any thread, but not at once. Their ``within`` is in seconds, after
    which they raise.
    """

    #: What asks the program to end in good order.
    _STOP = signal.SIGTERM

    def __init__(self, name: str, *, parent: str | None = None) -> None:
        self.folder = _private_folder(name, parent)
        self.port = free_port()
        #: The server's process id; of the last run while it is down.
        self.pid = 0
        self._name = name
        self._keeper: subprocess.Popen[str] | None = None
        self._paused = False

    @abstractmethod
    def _command(self) -> list[str]:
        """What runs the server in the foreground."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether this very server answers a query now."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether its process lives; a paused one does."""
        return self._keeper is not None and self._keeper.poll() is None

    def start(self, *, within: float = 60.0) -> None:
        """Run it and wait until it answers. Raises ServiceError when it is running already or ends."""
        self._launch(self._command())
        self.ready(within=within)

    def ready(self, *, within: float = 60.0) -> None:
        """Wait until it answers. Raises ServiceError when it is down, TimeoutError when it never does."""
        until(self._alive_and_answering, f"{self._name} answers", within=within)

    def stop(self, *, within: float = 60.0) -> None:
        """Ask it to end in good order, and wait for that."""
        self._end(self._STOP, within)

    def kill(self) -> None:
        """SIGKILL it and every process it leaves behind; what it had not written to its files is lost."""
        self._end(signal.SIGKILL, 30.0)

    def restart(self, *, within: float = 60.0) -> None:
        """Stop it in good order and start it again, on the same port."""
        self.stop(within=within)
        self.start(within=within)

    def pause(self) -> None:
        """SIGSTOP it and all of its children: connections are still taken by the kernel, and nobody answers."""
        self._check_running()
        self._paused = True
        _halt(psutil.Process(self.pid))  # first, so that it makes no more children
        for process in self._family():
            _halt(process)

    def resume(self) -> None:
        """Let it go on where it was paused."""
        self._check_running()
        for process in self._family():
            with suppress(psutil.NoSuchProcess):  # one that ends by itself meanwhile
                process.send_signal(signal.SIGCONT)
        self._paused = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Paused inside the ``with``; stopped or killed in it, it stays down."""
        self.pause()
        try:
            yield
        finally:
            if self.running:
                self.resume()

    def close(self) -> None:
        """Kill it and remove its folder."""
        self._let_go()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """The end of what it has written, over all its runs."""
        return (self.folder / "log").read_text(errors="replace")[-8_000:]

    def _launch(self, command: list[str]) -> None:
        if self.running:
            raise ServiceError(f"{self._name} is running already")
        self._let_go()
        with (self.folder / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                [*_keeping(self.folder), *command],
                env=ENVIRONMENT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the tests, which then end the server
            )
        assert self._keeper.stdout is not None
        self.pid = int(self._keeper.stdout.readline() or self._fail("did not start"))

    def _run(self, command: list[str], *, within: float = 60.0) -> None:
        """Run another program in its place, to its end. Raises ServiceError when that fails."""
        self._launch(command)
        if self._ended(within) != 0:
            self._fail(f"could not run {Path(command[0]).name}")

    def _alive_and_answering(self) -> bool:
        self._check_running()
        return self._answers()

    def _check_running(self) -> None:
        if not self.running:
            self._fail("is not running")

    def _fail(self, what: str) -> NoReturn:
        raise ServiceError(f"{self._name} {what}. The end of its log:\n{self.log()}")

    def _end(self, number: signal.Signals, within: float) -> None:
        self._check_running()
        if self._paused and number != signal.SIGKILL:
            self.resume()  # only SIGKILL ends what has stopped
        os.kill(self.pid, number)
        self._ended(within)

    def _ended(self, within: float) -> int:
        """Wait until it and all of its children are gone; returns its exit status."""
        assert self._keeper is not None
        try:
            status = self._keeper.wait(within)
        except subprocess.TimeoutExpired:
            self._fail(f"has not ended after {within} s")
        self._let_go()
        return status

    def _let_go(self) -> None:
        """Close the pipes to the keeper, which ends whatever still runs, and wait for its end."""
        if self._keeper is not None:
            with self._keeper:
                self._paused = False
            self._keeper = None

    def _write(self, name: str, text: str) -> Path:
        """Write a file that the server may read, whatever the umask is."""
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o644)
        return file

    def _family(self) -> list[psutil.Process]:
        """The server's children and, last, itself, so that it finds them as it left them."""
        server = psutil.Process(self.pid)
        return [*server.children(recursive=True), server]


def _keeping(folder: Path) -> list[str]:
    """The head of a command that runs under the keeper, which needs nothing but the standard library."""
    user = UNPRIVILEGED if os.geteuid() == 0 else ""
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("keeper.py")), str(folder), user]


def _halt(process: psutil.Process) -> None:
    """SIGSTOP a process and wait until it has stopped or ended."""
    over = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    try:
        process.suspend()
        until(lambda: process.status() in over, f"process {process.pid} has stopped")
    except psutil.NoSuchProcess:
        return


def _private_folder(name: str, parent: str | None) -> Path:
    """A new folder that belongs to the server's user. Raises ServiceError when that user cannot get there."""
    folder = Path(tempfile.mkdtemp(prefix=f"surehook-{name}-", dir=parent))
    if os.geteuid() == 0:
        shutil.chown(folder, UNPRIVILEGED)
        closed = [above for above in folder.parents if not above.stat().st_mode & 0o001]
        if closed:
            folder.rmdir()
            raise ServiceError(
                f"{UNPRIVILEGED} may not enter {closed[0]}: set TMPDIR to a folder open to all"
            )
    return folder
