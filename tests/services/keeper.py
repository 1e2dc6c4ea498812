"""Runs one program for another process, and ends it when that one ends, in whatever way.

    keeper.py FOLDER USER PROGRAM [ARGUMENT ...]

The other process holds the far end of standard input and never writes. When that end closes, the program and all of
its descendants are killed and FOLDER is removed. When the program ends by itself, its descendants are killed, FOLDER
stays, and the keeper ends with its status. The first line of standard output is the program's process id.

``PR_SET_PDEATHSIG`` on the program would not be enough: it fires when the *thread* that started the program ends, it
is not inherited by the program's own children, and children that are stopped never learn of their parent's death.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
IPC_RMID = 0

_libc = ctypes.CDLL(None, use_errno=True)


def main(folder: str, user: str, *command: str) -> int:
    """Run the command in the folder, as the user unless that is empty; returns its exit status."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    program = _run(folder, user, command)
    os.write(1, b"%d\n" % program.pid)
    abandoned = _abandoned(program.pid)
    program.kill()
    status = program.wait()
    _end_family()
    if abandoned:
        shutil.rmtree(folder, ignore_errors=True)
    _remove_shared_memory(program.pid)
    return status if status >= 0 else 128 - status


def _run(folder: str, user: str, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=folder,
        user=user or None,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=_die_with_keeper,  # noqa: PLW1509 - the keeper has one thread
    )


def _die_with_keeper() -> None:
    """Python calls this after it has changed the user, which would undo it."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def _abandoned(pid: int) -> bool:
    """Wait for the end of the program or of the process that wants it; whether it was the latter."""
    events = select.poll()
    events.register(sys.stdin, select.POLLIN)
    events.register(os.pidfd_open(pid), select.POLLIN)
    return sys.stdin.fileno() in {descriptor for descriptor, _ in events.poll()}


def _end_family() -> None:
    """Kill and reap whatever is left: orphans of the program become the keeper's own children."""
    while children := _children():
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(-1, 0)


def _children() -> list[int]:
    me = str(os.getpid())
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(path) == me]


def _parent(process: Path) -> str:
    try:
        status = (process / "stat").read_text(errors="replace")
    except OSError:  # it has ended since it was listed
        return ""
    return status.rpartition(")")[2].split()[1]


def _remove_shared_memory(pid: int) -> None:
    """System V segments outlive a killed PostgreSQL, and the kernel allows only so many."""
    for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        _, segment, _, _, creator, *_ = line.split()
        if int(creator) == pid:
            _libc.shmctl(int(segment), IPC_RMID, None)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
