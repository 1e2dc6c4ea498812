"""Nothing in the repository names the machine it was written on or the registry it was installed from."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.architecture.sources import ROOT, documents, repository_files, shown, without_code

#: Written so that this file itself does not match.
HOMES = re.compile(r"(?<![\w.$~/])(?:/home|/Users|/root|/work)/\w|[A-Z]:\\Users\\", flags=re.ASCII)
REGISTRIES = re.compile(
    r"pypi[.]org|pythonhosted[.]org|registry[.]npmjs|npmmirror[.]|conda[.]anaconda|proxy[.]golang|static[.]crates"
    r"|--(?:extra-)?index[-]url[ =]|--find[-]links[ =]|--trusted[-]host[ =]"
)
BINARY = frozenset({".png", ".jpg", ".ico", ".woff2", ".gz", ".whl", ".db", ".pyc"})


def texts() -> list[tuple[Path, str]]:
    files = [
        path
        for path in repository_files()
        if path.suffix not in BINARY and not path.name.startswith(".coverage")
    ]
    assert len(files) > 40
    return [(path, path.read_text(encoding="utf-8", errors="replace")) for path in files]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{shown(path)}:{number} {line.strip()[:120]}"
        for path, text in texts()
        if pattern.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_home_folder() -> None:
    offenders = lines_with(HOMES)
    assert not offenders, "absolute paths of one machine:\n" + "\n".join(offenders)


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is the choice of whoever installs."""
    offenders = lines_with(REGISTRIES)
    assert not offenders, "hosts or options of a package registry:\n" + "\n".join(offenders)


def test_requirements_are_pinned_and_hashed() -> None:
    ours = [ROOT / "requirements" / name for name in ("core.txt", "dev.txt", "scaled.txt")]
    for path in (*ours, ROOT / "bench" / "peers" / "requirements.txt"):
        text = path.read_text(encoding="utf-8")
        blocks = [block for block in re.split(r"\n(?=\S)", text) if block and not block.startswith("#")]
        assert len(blocks) > 10
        loose = [
            block.split("\n")[0] for block in blocks if "==" not in block or "--hash=sha256:" not in block
        ]
        assert not loose, f"{shown(path)}: no exact version or no hash for {loose}"


def slug(heading: str) -> str:
    """The anchor of a heading, as Git hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)}


def links(path: Path) -> list[str]:
    """The targets of a document's links that stay in the repository."""
    found = re.findall(r"\]\(([^()\s]+)\)", without_code(path.read_text(encoding="utf-8")))
    return [unquote(target) for target in found if not re.match(r"[a-z]+:", target)]


def is_broken(path: Path, target: str) -> bool:
    file, _, anchor = target.partition("#")
    there = (path.parent / file).resolve() if file else path
    if not there.exists() or not there.is_relative_to(ROOT):
        return True
    return bool(anchor) and anchor not in anchors(there)


def test_documents_link_to_each_other() -> None:
    assert sum(len(links(path)) for path in documents()) > 20


@pytest.mark.parametrize("path", documents(), ids=shown)
def test_relative_links_lead_somewhere(path: Path) -> None:
    broken = [target for target in links(path) if is_broken(path, target)]
    assert not broken, f"{shown(path)}: broken links: {', '.join(broken)}"
