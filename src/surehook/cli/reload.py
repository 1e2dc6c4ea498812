"""``surehook run --reload``: a parent that starts the real process again whenever a file changes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from surehook import telemetry
from surehook.cli.options import Options
from surehook.config import Settings, examine
from surehook.config.sources import find_file
from surehook.errors import ConfigurationError

logger = logging.getLogger(__name__)

#: Seconds between two looks at the files.
POLL: Final = 0.3
#: Folders that hold no code of the user's.
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})

Snapshot = dict[Path, tuple[int, int]]


def supervise(arguments: Sequence[str], options: Options) -> int:
    """Run ``surehook ARGUMENTS`` as a child until a signal comes; returns the exit code.

    The child is stopped gracefully before the next one starts. One that ends by itself (a configuration with a mistake,
    say) is started again at the next change.
    """
    settings = _settings(options)
    telemetry.configure(settings.log_format, settings.log_level, sys.stderr)
    return Supervisor(arguments, find_file(options.config, os.environ)).run()


def _settings(options: Options) -> Settings:
    """The settings as far as they can be read: the child tells what is wrong."""
    try:
        return examine(options.config, os.environ, options.overrides()).loaded.settings
    except ConfigurationError:
        return Settings()


class Supervisor:
    """The parent. It has the child in a session of its own, so that Ctrl-C reaches the child only once, through it."""

    def __init__(self, arguments: Sequence[str], configuration: Path | None) -> None:
        self._command = [sys.executable, "-m", "surehook", *arguments]
        self._configuration = configuration
        self._stopping = False

    def run(self) -> int:
        """See ``supervise``."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        while True:
            seen = snapshot(Path(), self._configuration)
            child = subprocess.Popen(self._command, start_new_session=True)  # noqa: S603 - our own command line
            changed = self._wait_for_change(child, seen)
            if not changed:
                return self._end(child)
            logger.info("%s has changed: starting again", changed, extra={"event": "reload.changed"})
            self._end(child)

    def _on_signal(self, number: int, frame: object) -> None:
        self._stopping = True

    def _wait_for_change(self, child: subprocess.Popen[bytes], seen: Snapshot) -> str:
        """The name of what has changed, or nothing when a signal came."""
        told = False
        while not self._stopping:
            time.sleep(POLL)
            now = snapshot(Path(), self._configuration)
            if now != seen:
                return str(min(path for path, _ in now.items() ^ seen.items()))
            if child.poll() is not None and not told:
                told = True
                text = "ended with code %s; waiting for a change"
                logger.warning(text, child.returncode, extra={"event": "reload.ended"})
        return ""

    def _end(self, child: subprocess.Popen[bytes]) -> int:
        """Stop gracefully; a second signal to the parent is a second one to the child, which then stops at once."""
        self._stopping, stopping = False, self._stopping
        if child.poll() is None:
            child.terminate()
        while child.poll() is None:
            time.sleep(POLL / 10)
            if self._stopping:
                child.terminate()
                return child.wait()
        self._stopping = False
        return child.returncode if stopping else 0


def snapshot(root: Path, configuration: Path | None) -> Snapshot:
    """Time and size of every file that matters."""
    found: Snapshot = {}
    for path in [*python_files(root), *([configuration] if configuration else [])]:
        try:
            status = path.stat()
        except OSError:
            continue  # removed meanwhile
        found[path] = (status.st_mtime_ns, status.st_size)
    return found


def python_files(root: Path) -> Iterator[Path]:
    """The *.py files under a folder, without hidden and installed ones."""
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if name not in _SKIPPED and not name.startswith(".")]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))
