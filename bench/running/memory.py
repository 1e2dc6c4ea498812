"""What processes hold in memory, from the operating system."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

MB: Final = 1024 * 1024


def resident(pid: int) -> float:
    """In MB."""
    return float(psutil.Process(pid).memory_info().rss) / MB


def peak(pid: int) -> float:
    """The most that was resident so far, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, flags=re.MULTILINE)
    return int(found[1]) / 1024 if found else resident(pid)


class Watch:
    """Looks at processes at equal intervals, from a thread, inside its ``with``."""

    def __init__(self, pids: Mapping[str, int], interval: float) -> None:
        self._pids = pids
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._began = time.monotonic()
        #: Seconds since the beginning and MB, by name.
        self.samples: dict[str, list[tuple[float, float]]] = {name: [] for name in pids}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(self._interval):
            for name, pid in self._pids.items():
                self.samples[name].append((time.monotonic() - self._began, resident(pid)))


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """By how much the second value grows for each unit of the first: least squares over two samples or more."""
    count = len(samples)
    middle_x, middle_y = sum(x for x, _ in samples) / count, sum(y for _, y in samples) / count
    spread = sum((x - middle_x) ** 2 for x, _ in samples)
    return sum((x - middle_x) * (y - middle_y) for x, y in samples) / spread if spread else 0.0
