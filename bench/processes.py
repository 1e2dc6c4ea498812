"""Processes of the benchmark: started, spoken to in lines of JSON, and killed."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
#: Longer than any run; a run that exceeds it hangs.
PATIENCE = 180


class BenchError(Exception):
    """A run did not do what it was to do: there is no number to show."""


def cpu_seconds(process: int) -> float:
    """User and system time of a process so far, all its threads."""
    times = psutil.Process(process).cpu_times()
    return float(times.user + times.system)


def family_seconds(pid: int) -> float:
    """User and system time of a process and of all its children, also of those that have ended and were waited for."""
    for _ in range(10):
        parent = psutil.Process(pid)
        try:
            family = [parent, *parent.children(recursive=True)]
            return sum(sum(each.cpu_times()[:4]) for each in family)
        except psutil.NoSuchProcess:
            continue  # one has ended meanwhile: its time stands with its parent's now
    raise BenchError(f"the children of process {pid} come and go too fast to be measured")


def python(module: str, *arguments: object) -> list[str]:
    """The command that runs a module with this very Python."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def run(module: str, *arguments: object) -> dict[str, Any]:
    """Run a module of the benchmark to its end; returns the line of JSON that it prints last."""
    command = python(module, *arguments)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode != 0:
        raise BenchError(
            f"{module} {' '.join(command[3:])} ended with status {done.returncode}\n{done.stderr[-4000:]}"
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class Server:
    """A process that listens; its first line of output says where."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        first = process.stdout.readline()
        if not first:
            raise BenchError(f"{process.args!r} ended with status {process.wait()} before it listened")
        self.port = int(json.loads(first)["port"])

    @property
    def pid(self) -> int:
        """For its CPU time."""
        return self._process.pid


def serving(module: str, *arguments: object) -> contextlib.AbstractContextManager[Server]:
    """A module of the benchmark that listens."""
    return listening(python(module, *arguments))


@contextlib.contextmanager
def listening(command: Sequence[str]) -> Iterator[Server]:
    """A listening process; at the end it is killed without warning, so that only what is durable remains."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.send_signal(signal.SIGKILL)


class Child:
    """A process that has made itself ready, begins when it is told to, and runs until it is killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """For its CPU time."""
        return self._process.pid

    def ready(self) -> None:
        """Wait until it has loaded its code; told or not. Raises BenchError when it has ended."""
        self._line("it was ready")

    def go(self) -> None:
        """Let it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def begun(self) -> None:
        """Wait until it works. Raises BenchError when it has ended."""
        self._line("it began")

    def handled(self) -> int:
        """How many it has handled by now, of a process that answers that. Raises BenchError when it has ended."""
        self.go()
        return int(json.loads(self._line("it answered")))

    def check(self) -> None:
        """Raise BenchError when it has ended."""
        if self._process.poll() is not None:
            raise BenchError(f"{self._process.args!r} ended with status {self._process.returncode}")

    def kill(self) -> None:
        """End it without warning."""
        self._process.kill()
        self._process.wait()

    def _line(self, what: str) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"{self._process.args!r} ended with status {self._process.wait()} before {what}")
        return line


def child(module: str, *arguments: object) -> contextlib.AbstractContextManager[Child]:
    """A module of the benchmark that begins when it is told to."""
    return beginning(python(module, *arguments))


@contextlib.contextmanager
def beginning(command: Sequence[str]) -> Iterator[Child]:
    """A process that begins when it is told to; at the end it is killed without warning."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Child(process)
        finally:
            process.kill()
