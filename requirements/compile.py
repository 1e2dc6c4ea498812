"""Renews the requirements from pyproject.toml: exact versions with hashes, and no address of any registry.

``core.txt`` is what Surehook needs, ``dev.txt`` that and what its tests need, ``scaled.txt`` that and the extras for
PostgreSQL and Redis, ``build.txt`` what makes the wheel. The last two hold the very versions that the tests run with.
``bench/peers/requirements.txt`` is what Surehook is compared with, and never installed beside it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
#: What redis-py needs on Python before 3.11.3, such as Debian's, and what a resolver that runs on a later one leaves out.
EARLIER_PATCHES = ["async-timeout>=4.0.3"]


def compile_file(name: str, wanted: Sequence[str], tested: str = "") -> None:
    """Resolve ``wanted`` into ``name``; with ``tested``, into the versions of that file."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "wanted.in")
        constraints = [f"-c {HERE / tested}"] if tested else []
        source.write_text("\n".join([*constraints, *wanted]) + "\n", encoding="utf-8")
        options = ["--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-header", "--no-annotate"]
        silent = ["--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--quiet"]
        files = ["-o", str(HERE / name), str(source)]
        command = [sys.executable, "-m", "piptools", "compile", *options, *silent, *files]
        subprocess.run(command, check=True)  # noqa: S603 - pip-tools of this very environment, with arguments of our own


def main() -> None:
    """All files."""
    document = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    project, extras = document["project"], document["project"]["optional-dependencies"]
    core = project["dependencies"]
    compile_file("core.txt", core)
    compile_file("dev.txt", core + document["dependency-groups"]["dev"] + EARLIER_PATCHES)
    scaled = core + extras["postgres"] + extras["redis"] + EARLIER_PATCHES
    compile_file("scaled.txt", scaled, tested="dev.txt")
    compile_file("build.txt", document["build-system"]["requires"], tested="dev.txt")
    peers = HERE.parent / "bench" / "peers"
    compile_file(str(peers / "requirements.txt"), [f"-r {peers / 'requirements.in'}", *EARLIER_PATCHES])


if __name__ == "__main__":
    main()
