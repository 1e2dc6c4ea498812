"""Numbered migrations with checksums: applied in order, each in one transaction, never edited once released."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files

import msgspec

from surehook.clock import Millis
from surehook.errors import SchemaMismatch


class Migration(msgspec.Struct, frozen=True):
    """One numbered file, and what one database alone needs beside it."""

    version: int
    name: str
    #: With the tokens of the dialect, not filled in.
    sql: str
    #: The oldest schema whose code still works after it.
    needs: int

    @property
    def checksum(self) -> str:
        """SHA-256 of the text before tokens are filled in."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class AppliedMigration(msgspec.Struct, frozen=True):
    """A migration and when it was applied, None for not yet."""

    version: int
    name: str
    checksum: str
    applied_at: Millis | None
    #: The oldest schema whose code still works with it.
    needs: int = 1


#: Kept out of the numbered files because it must exist before the first of them is recorded.
LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer NOT NULL PRIMARY KEY,
    name       text    NOT NULL,
    checksum   text    NOT NULL,
    applied_at bigint  NOT NULL
)
"""


def load_migrations(dialect: str) -> list[Migration]:
    """The migrations of this version of Surehook for one database, in order.

    ``0002_name.sql`` is for all of them; ``0002_name.postgresql.sql`` beside it is appended for that one only.
    """
    folder = files("surehook.storage").joinpath("migrations")
    texts = {each.name: each.read_text(encoding="utf-8") for each in folder.iterdir()}
    found = []
    for name, text in texts.items():
        if name.endswith(".sql") and name.count(".") == 1:
            number, _, title = name.removesuffix(".sql").partition("_")
            own = texts.get(name.replace(".sql", f".{dialect}.sql"), "")
            found.append(Migration(int(number), title, text + own, _needs(text) or int(number)))
    return sorted(found, key=lambda each: each.version)


def _needs(text: str) -> int | None:
    """``-- needs: 1`` says that code made for schema 1 goes on working; without it, only code that knows the migration."""
    found = re.search(r"^-- needs: (\d+)$", text, flags=re.MULTILINE)
    return int(found[1]) if found else None


def compare(known: Sequence[Migration], applied: Sequence[AppliedMigration]) -> list[AppliedMigration]:
    """Every known migration and its state.

    A database that is ahead is accepted while its newest migrations say that this version's code goes on working: a rolling
    deployment migrates first and replaces the processes afterwards. Raises SchemaMismatch when they do not, or when a
    migration was changed after it was applied.
    """
    by_version = {each.version: each for each in applied}
    newest = max(each.version for each in known)
    ahead = [each for each in applied if each.version > newest]
    if too_far := sorted(each.version for each in ahead if each.needs > newest):
        raise SchemaMismatch(
            f"the database's schema is newer than this version of Surehook can work with (migrations {too_far}): install "
            "the version that made it, or a later one"
        )
    for migration in known:
        there = by_version.get(migration.version)
        if there is not None and there.checksum != migration.checksum:
            raise SchemaMismatch(
                f"migration {migration.version:04} ({migration.name}) was changed after it had been applied: reinstall the "
                "released package"
            )
    return [
        by_version.get(
            each.version, AppliedMigration(each.version, each.name, each.checksum, None, each.needs)
        )
        for each in known
    ]


def require_current(status: Sequence[AppliedMigration]) -> None:
    """Raises SchemaMismatch when a migration is missing."""
    if missing := [each.version for each in status if each.applied_at is None]:
        raise SchemaMismatch(
            f"the database lacks migrations {missing}: run 'surehook migrate up', or 'surehook run' without --no-migrate"
        )


#: Reads the ledger; before migration 2 it had no column ``needs``.
READ_LEDGER = "SELECT version, name, checksum, applied_at, needs FROM schema_migrations ORDER BY version"
READ_FIRST_LEDGER = "SELECT version, name, checksum, applied_at FROM schema_migrations ORDER BY version"


#: Written when all missing migrations are applied, since the second one gives the ledger its last column.
RECORD = (
    "INSERT INTO schema_migrations (version, name, checksum, applied_at, needs) "
    "VALUES (:version, :name, :checksum, :applied_at, :needs)"
)


def split_script(sql: str) -> list[str]:
    """The statements of a migration. They hold no semicolon inside of texts, which a test watches."""
    lines = [line for line in sql.splitlines() if not line.lstrip().startswith("--")]
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]
