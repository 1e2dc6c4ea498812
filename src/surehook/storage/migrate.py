"""Numbered migrations with checksums: applied in order, each in one transaction, never edited once released."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files

import msgspec

from surehook.clock import Millis
from surehook.errors import SchemaMismatch


class Migration(msgspec.Struct, frozen=True):
    """One numbered file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text before tokens are filled in, so that it is the same for every database."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class AppliedMigration(msgspec.Struct, frozen=True):
    """A migration and when it was applied, None for not yet."""

    version: int
    name: str
    checksum: str
    applied_at: Millis | None


#: Kept out of the numbered files because it must exist before the first of them is recorded.
LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer NOT NULL PRIMARY KEY,
    name       text    NOT NULL,
    checksum   text    NOT NULL,
    applied_at bigint  NOT NULL
)
"""


def load_migrations() -> list[Migration]:
    """The migrations of this version of Surehook, in order."""
    found = []
    for file in files("surehook.storage").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda each: each.version)


def compare(known: Sequence[Migration], applied: Sequence[AppliedMigration]) -> list[AppliedMigration]:
    """Every migration and its state.

    Raises SchemaMismatch when the database is newer than this version, or a migration was changed after it was applied.
    """
    by_version = {each.version: each for each in applied}
    if ahead := sorted(by_version.keys() - {each.version for each in known}):
        raise SchemaMismatch(
            f"the database's schema is newer than this version of Surehook (migrations {ahead}): install the version that "
            "made it, or a later one"
        )
    for migration in known:
        there = by_version.get(migration.version)
        if there is not None and there.checksum != migration.checksum:
            raise SchemaMismatch(
                f"migration {migration.version:04} ({migration.name}) was changed after it had been applied: reinstall the "
                "released package"
            )
    return [
        by_version.get(each.version, AppliedMigration(each.version, each.name, each.checksum, None))
        for each in known
    ]


def require_current(status: Sequence[AppliedMigration]) -> None:
    """Raises SchemaMismatch when a migration is missing."""
    if missing := [each.version for each in status if each.applied_at is None]:
        raise SchemaMismatch(
            f"the database lacks migrations {missing}: run 'surehook migrate up', or 'surehook run' without --no-migrate"
        )


def split_script(sql: str) -> list[str]:
    """The statements of a migration. They hold no semicolon inside of texts, which a test watches."""
    lines = [line for line in sql.splitlines() if not line.lstrip().startswith("--")]
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]
