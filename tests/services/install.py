"""The servers' programs: found where Debian puts them, installed where they lack."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Seconds that one run of apt-get may take.
PATIENCE = 600


class NotInstalled(Exception):
    """A program that the tests need is missing and cannot be installed from here."""


def require(program: str, package: str) -> Path:
    """Where a program is; as root, its Debian package is installed first if need be.

    Raises NotInstalled, saying what to install, when that is not possible.
    """
    return find(program) or _install(program, package)


def find(program: str) -> Path | None:
    """A program on the PATH or in a folder where Debian puts servers: PostgreSQL's newest version first."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    folders = [os.environ.get("PATH", os.defpath), *map(str, versions), "/usr/sbin"]
    found = shutil.which(program, path=os.pathsep.join(folders))
    return Path(found) if found else None


def _version(folder: Path) -> tuple[int, ...]:
    """Of ``/usr/lib/postgresql/9.6/bin``: (9, 6)."""
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())


def _install(program: str, package: str) -> Path:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NotInstalled(
            f"The tests need the program {program!r}. Install it, on Debian by: apt-get install {package}"
        )
    with _alone():
        output = "" if find(program) else _apt_install(package)
    found = find(program)
    if found is None:
        raise NotInstalled(f"apt-get install {package} did not bring the program {program!r}:\n{output}")
    return found


def _apt_install(package: str) -> str:
    """Install a package; the lists are renewed only when it fails without. Returns what apt-get said."""
    code, output = _apt("install", package)
    if code != 0:
        _, renewed = _apt("update")
        _, again = _apt("install", package)
        output = f"{renewed}\n{again}"
    return output[-4_000:]


def _apt(command: str, *packages: str) -> tuple[int, str]:
    """Runlevel 1, single user: the packages' scripts leave Debian's own servers stopped where that is obeyed."""
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", "LC_ALL": "C.UTF-8"}
    options = ("-q", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300")
    run = subprocess.run(
        ["apt-get", *options, command, *packages],
        env={**os.environ, **quiet},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return run.returncode, run.stdout


@contextmanager
def _alone() -> Iterator[None]:
    """One installation at a time: apt-get does not wait for another one's ``update``."""
    path = Path(tempfile.gettempdir(), "surehook-install.lock")
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
