"""The names that users import, and the flow that the packages are named after."""

from __future__ import annotations

import re

from tests.architecture.sources import PACKAGE, ROOT

import surehook

FLOW = ("ingest", "inbox", "queue", "work", "outbox", "publish")


def test_the_public_names_are_these_and_no_others() -> None:
    names = ["App", "Event", "Reject", "Retry", "SyncTransaction", "Transaction", "__version__"]
    assert sorted(surehook.__all__) == names
    assert all(hasattr(surehook, name) for name in names)


def test_every_public_name_is_explained() -> None:
    silent = [
        name for name in surehook.__all__ if name != "__version__" and not getattr(surehook, name).__doc__
    ]
    assert not silent, f"no docstring: {', '.join(silent)}"


def test_the_version_is_a_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+([a-z]+\d+)?", surehook.__version__)


def test_readme_draws_the_flow_in_the_words_of_the_packages() -> None:
    """Who has read the data-flow line knows the folders, and the other way round."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    line = next((line for line in readme.splitlines() if all(word in line for word in FLOW)), "")
    assert re.findall("|".join(FLOW), line) == list(FLOW), (
        "README.md: the data-flow line does not name the packages"
    )
    missing = [
        word for word in FLOW if not (PACKAGE / word).is_dir() and not (PACKAGE / f"{word}.py").is_file()
    ]
    assert not missing, f"no such package or module: {', '.join(missing)}"
