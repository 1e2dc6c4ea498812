"""What differs between the databases' SQL: a handful of tokens. Loads the named statements and fills the tokens in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

import msgspec


class Dialect(msgspec.Struct, frozen=True):
    """One database's tokens."""

    name: str
    tokens: Mapping[str, str]

    def render(self, sql: str) -> str:
        """``sql`` with every ``{token}`` replaced."""
        return re.sub(r"\{(\w+)\}", lambda match: self.tokens[match[1]], sql)


SQLITE = Dialect(
    "sqlite",
    {
        "uuid": "blob",
        "blob": "blob",
        "skip_locked": "",  # one writer at a time: there is nobody to skip
        "now_ms": "CAST((julianday('now') - 2440587.5) * 86400000 AS integer)",
    },
)


def split_statements(text: str) -> dict[str, str]:
    """The statements of a ``.sql`` file by name. Comment lines belong to people and are left out."""
    statements: dict[str, str] = {}
    for block in re.split(r"^-- name: ", text, flags=re.MULTILINE)[1:]:
        name, _, body = block.partition("\n")
        lines = [line for line in body.splitlines() if not line.startswith("--")]
        if name.strip() in statements:
            raise ValueError(f"two statements are named {name.strip()}")
        statements[name.strip()] = "\n".join(lines).strip()
    return statements


def load_statements(dialect: Dialect) -> dict[str, str]:
    """Every statement of the package, rendered for one database."""
    statements: dict[str, str] = {}
    for file in sorted(
        files("surehook.storage").joinpath("statements").iterdir(), key=lambda each: each.name
    ):
        if file.name.endswith(".sql"):
            named = split_statements(file.read_text(encoding="utf-8"))
            if twice := statements.keys() & named.keys():
                raise ValueError(f"two statements are named {sorted(twice)}")
            statements |= {name: dialect.render(sql) for name, sql in named.items()}
    return statements
