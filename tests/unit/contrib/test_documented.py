"""What the documentation shows of handlers' own tools is what the scenarios run and kill."""

from __future__ import annotations

from tests.architecture.sources import DOCS, ROOT, code_blocks

EXAMPLES = ROOT / "examples" / "tools"


def test_documented_code_stands_in_the_examples() -> None:
    programs = [path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.glob("*.py"))]
    shown = code_blocks(DOCS / "handlers.md", "py")
    assert len(shown) == 4
    missing = [str(block) for block in shown if not any(block.text in program for program in programs)]
    assert not missing, f"not in {EXAMPLES}: {', '.join(missing)}"
