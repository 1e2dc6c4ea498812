"""What differs between the databases' SQL: a handful of tokens. Loads the named statements and fills the tokens in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

import msgspec

#: Tables that handlers may read, and never write.
OWN_TABLES = frozenset(
    {
        "inbox_events",
        "inbox_payloads",
        "outbox_messages",
        "failures",
        "rejections",
        "audit_log",
        "schema_migrations",
    }
)


class Dialect(msgspec.Struct, frozen=True):
    """One database's tokens."""

    name: str
    tokens: Mapping[str, str]

    def render(self, sql: str) -> str:
        """``sql`` with every ``{token}`` replaced."""
        return re.sub(r"\{(\w+)\}", lambda match: self.tokens[match[1]], sql)


_INLINE_BODY = "CASE WHEN length(body) <= :inline_body THEN body END"

SQLITE = Dialect(
    "sqlite",
    {
        "uuid": "blob",
        "blob": "blob",
        "for_update": "",  # nor to wait for
        "skip_locked": "",  # one writer at a time: there is nobody to skip
        # rows are appended under rising numbers, so the distance of the ends is about their count
        "about_events": "(SELECT max(rowid) FROM inbox_events) - (SELECT min(rowid) FROM inbox_events) + 1",
        "about_messages": "(SELECT max(rowid) FROM outbox_messages) - (SELECT min(rowid) FROM outbox_messages) + 1",
        # its RETURNING sees only the table that is written
        "join_payload": "",
        "payload": ", ".join(
            f"(SELECT {column} FROM inbox_payloads WHERE inbox_payloads.id = payload_id)"
            for column in ("content_type", "headers", _INLINE_BODY)
        ),
        "was_due": "NULL",  # nor are dead rows any trouble there
        "among_ids": "IN (SELECT unhex(value) FROM json_each(:ids))",
        # two lists would have to be searched for what belongs together
        "settled": "(SELECT unhex(value ->> 0) AS id, value ->> 1 AS token FROM json_each(:settled)) AS settled",
        "now_ms": "CAST((julianday('now') - 2440587.5) * 86400000 AS integer)",
    },
)


POSTGRESQL = Dialect(
    "postgresql",
    {
        "uuid": "uuid",
        "blob": "bytea",
        "for_update": "FOR UPDATE",
        "skip_locked": "FOR UPDATE SKIP LOCKED",
        # as the last vacuum or analyze has seen it
        "about_events": "CAST(reltuples AS bigint) FROM pg_class WHERE oid = to_regclass('inbox_events')",
        "about_messages": "CAST(reltuples AS bigint) FROM pg_class WHERE oid = to_regclass('outbox_messages')",
        # looked up once for all rows: with a partition for each day every look-up opens a hundred tables
        "join_payload": "LEFT JOIN inbox_payloads ON inbox_payloads.id = due.payload_id",
        "payload": f"content_type, headers, {_INLINE_BODY}",
        "was_due": "due.due_at",
        "among_ids": "= ANY (CAST(:ids AS uuid[]))",
        "settled": "unnest(CAST(:ids AS uuid[]), CAST(:tokens AS bigint[])) AS settled (id, token)",
        "now_ms": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)",
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
