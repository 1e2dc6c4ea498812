"""docs/providers.md shows what the packs declare: its table is made by the code, and nobody mends it by hand."""

from __future__ import annotations

import re

import pytest
from tests.architecture.sources import DOCS

from surehook.packs import PACKS
from surehook.packs.describing import CERTAINTY, Description, about, describe_all, markdown_table

PAGE = (DOCS / "providers.md").read_text(encoding="utf-8")


def test_the_table_is_the_one_that_the_code_makes() -> None:
    found = re.search(r"<!-- packs: begin; .* -->\n(.*)<!-- packs: end -->", PAGE, flags=re.DOTALL)
    assert found, "docs/providers.md has lost the comments around its table"
    assert found[1] == markdown_table(describe_all()), (
        "put the output of `surehook providers packs --format markdown` between the comments"
    )


@pytest.mark.parametrize("one", describe_all(), ids=lambda one: one.name)
def test_every_pack_is_described_in_every_column(one: Description) -> None:
    """Where nothing follows from what a pack declares, it must say it: ``proof``, ``handshake``."""
    for column in one.__struct_fields__:
        words = getattr(one, column)
        assert words.strip(), f"{one.name}: nothing to say of its {column}"
        assert "\n" not in words
    assert "a scheme of its own" not in one.proof, f"{one.name}: say in `proof` how it is verified"
    assert about(PACKS[one.name]).endswith((".", "?")), (
        f"{one.name}: its documentation string tells users nothing"
    )


def test_every_certainty_is_explained() -> None:
    for name, sentence in CERTAINTY.items():
        assert f"| {name} | {sentence} |" in PAGE
