"""The peers' own packages, in folders that belong to them: a virtual environment and ``node_modules``.

Surehook's environment gets none of them. Both are made again when what they are made from has changed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.processes import BenchError

HERE: Final = Path(__file__).parent
PROGRAMS: Final = HERE / "programs"
#: The packages that are used; ``requirements.txt`` adds what they need.
WANTED: Final = HERE / "requirements.in"
REQUIREMENTS: Final = HERE / "requirements.txt"
PACKAGE: Final = PROGRAMS / "package.json"
VENV: Final = HERE / ".venv"
MODULES: Final = PROGRAMS / "node_modules"
#: Seconds that an installation may take.
PATIENCE: Final = 900


def node() -> str | None:
    """Node.js with npm, where it is installed."""
    return shutil.which("node") if shutil.which("npm") else None


def versions() -> dict[str, str]:
    """The peers and what stands between them and their stores, with the versions they are pinned to."""
    wanted = re.findall(r"^([\w-]+)\S*==(\S+)$", WANTED.read_text(encoding="utf-8"), flags=re.MULTILINE)
    packages: dict[str, str] = json.loads(PACKAGE.read_text(encoding="utf-8"))["dependencies"]
    return dict(wanted) | packages


def install_python(requirements: Path = REQUIREMENTS, venv: Path = VENV) -> None:
    """Make the virtual environment. Raises BenchError when it cannot be made."""
    if _is_current(venv, requirements):
        return
    shutil.rmtree(venv, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(venv)], HERE)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "-r", str(requirements)], HERE)
    _stamp(venv, requirements)


def install_node(package: Path = PACKAGE, modules: Path = MODULES) -> None:
    """Fill ``node_modules``: no lock file, since it would hold addresses; no scripts. Raises BenchError on failure."""
    if _is_current(modules, package):
        return
    shutil.rmtree(modules, ignore_errors=True)
    quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
    _run(["npm", "install", "--no-package-lock", "--ignore-scripts", *quiet], package.parent)
    _stamp(modules, package)


def _is_current(folder: Path, source: Path) -> bool:
    stamp = folder / ".made-from"
    return stamp.exists() and stamp.read_text(encoding="utf-8") == source.read_text(encoding="utf-8")


def _stamp(folder: Path, source: Path) -> None:
    shutil.copy(source, folder / ".made-from")


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"the peers could not be installed: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout)[-2000:]
        raise BenchError(f"the peers could not be installed: {' '.join(command)} said:\n{said}")
