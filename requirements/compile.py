"""Renews ``core.txt`` and ``dev.txt`` from pyproject.toml: exact versions with hashes, and no address of any registry."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def compile_file(name: str, wanted: list[str]) -> None:
    """Resolve ``wanted`` into ``name``."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "wanted.in")
        source.write_text("\n".join(wanted) + "\n", encoding="utf-8")
        options = ["--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-header", "--no-annotate"]
        silent = ["--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--quiet"]
        command = [sys.executable, "-m", "piptools", "compile", *options, *silent, "-o", HERE / name, source]
        subprocess.run(command, check=True)  # noqa: S603 - pip-tools of this very environment, with arguments of our own


def main() -> None:
    """Both files."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    core = project["project"]["dependencies"]
    compile_file("core.txt", core)
    compile_file("dev.txt", core + project["dependency-groups"]["dev"])


if __name__ == "__main__":
    main()
