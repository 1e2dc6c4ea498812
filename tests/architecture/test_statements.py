"""The SQL keeps to the table of moves: every change of state is declared, allowed and fenced."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import apsw
import psycopg
import pytest
from tests.architecture.sources import (
    DOCS,
    MIGRATIONS,
    PACKAGE,
    Statement,
    code_blocks,
    modules,
    shown,
    statements,
    tree,
)
from tests.services import PostgresServer

from surehook.states import (
    CLAIMABLE_EVENTS,
    CLAIMABLE_MESSAGES,
    EVENT_MOVES,
    FINISHED_EVENTS,
    FINISHED_MESSAGES,
    MESSAGE_MOVES,
    EventState,
    MessageState,
)
from surehook.storage.dialect import POSTGRESQL, SQLITE, Dialect
from surehook.storage.migrate import load_migrations, split_script
from surehook.storage.placeholders import bind

Moves = dict[str | None, frozenset[str]]

EVENTS: Moves = {old and old.value: frozenset(new) for old, new in EVENT_MOVES.items()}
MESSAGES: Moves = {old and old.value: frozenset(new) for old, new in MESSAGE_MOVES.items()}
TABLES: dict[str, Moves] = {"inbox_events": EVENTS, "outbox_messages": MESSAGES}
LEASED = {EventState.PROCESSING.value, MessageState.SENDING.value}

STATEMENTS = statements()


class Move(NamedTuple):
    """One arrow of a ``-- moves:`` line."""

    old: str | None
    new: str


class Update(NamedTuple):
    """An UPDATE, cut in two: what it sets, and everything that chooses the rows."""

    table: str
    sets: str
    chooses: str


def update_of(statement: Statement) -> Update | None:
    found = re.search(
        r"\bUPDATE (\w+)\s+SET\b(.*?)(?=\b(?:FROM \w+ )?WHERE\b)", statement.sql, flags=re.DOTALL
    )
    if found is None:
        return None
    chooses = statement.sql[: found.start()] + statement.sql[found.end() :]
    return Update(found[1], found[2], chooses.partition("RETURNING")[0])


def sets_state(statement: Statement) -> bool:
    update = update_of(statement)
    return update is not None and re.search(r"(?<![\w.])state\s*=", update.sets) is not None


def table_of(statement: Statement) -> str:
    found = re.search(r"\b(?:UPDATE|INSERT INTO)\s+(\w+)", statement.sql)
    assert found, f"{statement}: neither UPDATE nor INSERT"
    return found[1]


def moves_of(statement: Statement) -> list[Move]:
    """``A | B -> C | D`` is four moves; ``(new)`` stands for an arrival."""
    found = []
    for text in statement.moves:
        olds, _, news = text.partition("->")
        pairs = [(old.strip(), new.strip()) for old in olds.split("|") for new in news.split("|")]
        found += [Move(None if old == "(new)" else old, new) for old, new in pairs]
    return found


def states_named(text: str, table: str) -> set[str]:
    """The states of a table that stand quoted in a piece of SQL."""
    known = {state for state in TABLES[table] if state}
    return {name for name in re.findall(r"'([A-Z_]+)'", text) if name in known}


MOVING = [statement for statement in STATEMENTS if statement.moves]
UPDATING = [statement for statement in MOVING if update_of(statement)]


def test_there_is_a_statement_for_every_allowed_move() -> None:
    """Moves that no statement makes would be dead words in the table, and the checks below would not see them."""
    for table, allowed in TABLES.items():
        made = {move for statement in MOVING if table_of(statement) == table for move in moves_of(statement)}
        assert made == {Move(old, new) for old, news in allowed.items() for new in news}, table


@pytest.mark.parametrize("statement", MOVING, ids=str)
def test_a_declared_move_is_allowed(statement: Statement) -> None:
    allowed = TABLES[table_of(statement)]
    wrong = [
        f"{old} -> {new}" for old, new in moves_of(statement) if new not in allowed.get(old, frozenset())
    ]
    assert not wrong, f"{statement}: states.py does not allow {', '.join(wrong)}"


def test_every_statement_that_sets_a_state_declares_its_move() -> None:
    setting = [statement for statement in STATEMENTS if sets_state(statement)]
    assert len(setting) >= 15
    silent = [str(statement) for statement in setting if not statement.moves]
    assert not silent, "no '-- moves:' line:\n" + "\n".join(silent)
    idle = [str(statement) for statement in UPDATING if not sets_state(statement)]
    assert not idle, "a '-- moves:' line, but no state is set:\n" + "\n".join(idle)


@pytest.mark.parametrize("statement", UPDATING, ids=str)
def test_a_move_names_its_old_states_and_sets_its_new_ones(statement: Statement) -> None:
    update = update_of(statement)
    assert update
    old = {move.old for move in moves_of(statement)}
    new = {move.new for move in moves_of(statement)}
    assert states_named(update.chooses, update.table) == old, (
        f"{statement}: its WHERE must name {old}, no other state"
    )
    assert states_named(update.sets, update.table) == new, f"{statement}: it must set {new}"


@pytest.mark.parametrize("statement", UPDATING, ids=str)
def test_a_leased_row_is_moved_only_by_its_owner_or_after_its_lease(statement: Statement) -> None:
    """Out of PROCESSING and SENDING: the lease token, or an expired lease. Every other state has no owner."""
    update = update_of(statement)
    assert update
    if LEASED & {move.old for move in moves_of(statement)}:
        owner = re.search(r"\blease_token = (:token|settled\.token)\b", update.chooses)
        expired = re.search(r"\blease_until < :now\b", update.chooses)
        assert owner or expired, f"{statement}: fence it by 'lease_token = :token' or 'lease_until < :now'"


def test_a_claim_raises_the_lease_token_and_nothing_else_touches_it() -> None:
    claims = [statement for statement in UPDATING if LEASED & {move.new for move in moves_of(statement)}]
    assert len(claims) >= 2
    raising = [
        s for s in STATEMENTS if (update := update_of(s)) and re.search(r"\blease_token\s*=", update.sets)
    ]
    assert raising == claims
    assert all("lease_token = lease_token + 1" in statement.sql for statement in claims)


def test_a_lease_is_prolonged_only_by_its_owner() -> None:
    extending = [s for s in STATEMENTS if (u := update_of(s)) and "lease_until = :" in u.sets and not s.moves]
    assert len(extending) == 2
    for statement in extending:
        update = update_of(statement)
        assert update
        assert re.search(r"state = '(PROCESSING|SENDING)'", update.chooses), statement
        assert "lease_token = :token" in update.chooses, statement


def test_statement_names_are_unique_and_used() -> None:
    counts = Counter(statement.name for statement in STATEMENTS)
    twice = [name for name, count in counts.items() if count > 1]
    assert not twice, f"two statements of one name: {', '.join(twice)}"
    texts = [
        text for path in modules() if path.parent == PACKAGE / "storage" for text in texts_of(tree(path))
    ]
    unused = [name for name in counts if not any(re.fullmatch(text, name) for text in texts)]
    assert not unused, f"statements that no code uses: {', '.join(unused)}"


def texts_of(module: ast.Module) -> Iterator[str]:
    """The texts in a module that can be a name, as patterns; an f-string stands for whatever it can become."""
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else r"\w+" for part in node.values
            )
        elif isinstance(node, ast.Constant) and re.fullmatch(r"\w+", str(node.value)):
            yield str(node.value)


#: What only one of the databases has; a token of the dialect stands for it.
HABITS = (
    r"::",
    r"\bnow\(\)",
    r"\bdatetime\(",
    r"\bunixepoch\(",
    r"\bjulianday\(",
    r"\bjson_each\(",
    r"\bunnest\(",
    r"\bANY\s*\(",
    r"\bFOR UPDATE\b",
    r"\bSKIP LOCKED\b",
    r"\browid\b",
    r"\bpg_\w+",
)


@pytest.mark.parametrize("statement", STATEMENTS, ids=str)
def test_a_statement_is_named_explained_and_common_sql(statement: Statement) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]+", statement.name)
    assert re.match(r"[A-Z].*[.?]$", statement.sentence), f"{statement}: say in a sentence what it does"
    assert statement.sql
    assert not statement.sql.endswith(";"), f"{statement}: no semicolon"
    for habit in HABITS:
        assert not re.search(habit, statement.sql, flags=re.IGNORECASE), (
            f"{statement}: {habit} is one engine's own"
        )


def script(dialect: Dialect) -> list[str]:
    """The statements of all migrations of one database, in order."""
    return [
        statement
        for migration in load_migrations(dialect.name)
        for statement in split_script(dialect.render(migration.sql))
    ]


#: What the migrator makes before the first migration.
LEDGER = "CREATE TABLE schema_migrations (version integer, name text, checksum text, applied_at bigint)"


@pytest.fixture(scope="module")
def sqlite() -> apsw.Connection:
    """An empty file with every migration applied."""
    connection = apsw.Connection(":memory:")
    for statement in [LEDGER, *script(SQLITE)]:
        connection.execute(statement)
    return connection


@pytest.fixture(scope="module")
def postgresql(postgres: PostgresServer) -> Iterator[psycopg.Connection]:
    """An empty database with every migration applied."""
    with postgres.database() as url, psycopg.connect(url, autocommit=True) as connection:
        for statement in [LEDGER, *script(POSTGRESQL)]:
            connection.execute(statement.encode())
        yield connection


def nothing_bound(sql: str) -> dict[str, None]:
    return dict.fromkeys(re.findall(r":(\w+)", sql))


@pytest.mark.parametrize("statement", STATEMENTS, ids=str)
def test_a_statement_fits_the_schema_of_sqlite(sqlite: apsw.Connection, statement: Statement) -> None:
    sql = SQLITE.render(statement.sql)
    sqlite.execute("EXPLAIN " + sql, nothing_bound(sql)).fetchall()


@pytest.mark.parametrize("statement", STATEMENTS, ids=str)
def test_a_statement_fits_the_schema_of_postgresql(
    postgresql: psycopg.Connection, statement: Statement
) -> None:
    """Prepared as the adapter does: the server finds the type of every parameter by its place."""
    bound = bind(POSTGRESQL.render(statement.sql), False)
    postgresql.execute(f"PREPARE {statement.name} AS {bound.sql}".encode())
    nothing = ", ".join(["NULL"] * len(bound.names))
    postgresql.execute(f"EXPLAIN EXECUTE {statement.name}{f' ({nothing})' if nothing else ''}".encode())


def migration_files() -> list[Path]:
    found = sorted(MIGRATIONS.glob("*.sql"))
    assert len(found) >= 2
    return found


def tokens_of(sql: str) -> set[str]:
    return set(re.findall(r"\{(\w*)\}", sql))


def test_every_token_is_known_to_both_dialects_and_used() -> None:
    texts = {str(each): each.sql for each in STATEMENTS}
    texts |= {shown(path): path.read_text(encoding="utf-8") for path in migration_files()}
    used = {token for text in texts.values() for token in tokens_of(text)}
    assert SQLITE.tokens.keys() == POSTGRESQL.tokens.keys() == used
    for where, text in texts.items():
        for dialect in (SQLITE, POSTGRESQL):
            assert not re.search(r"[{}]", dialect.render(text)), f"{where}: a brace is left"


@pytest.mark.parametrize("path", migration_files(), ids=lambda path: path.name)
def test_a_migration_is_numbered_explained_and_can_be_cut(path: Path) -> None:
    number, name, *dialect = re.fullmatch(r"(\d{4})_([a-z_]+)(?:\.(\w+))?\.sql", path.name).groups()  # type: ignore[union-attr] # else it fails
    text = path.read_text(encoding="utf-8")
    assert text.lstrip().startswith("-- "), f"{path.name}: say in the first line what it is for"
    assert "/*" not in text, f"{path.name}: comments are lines that begin with --"
    for line in text.splitlines():
        _, dashes, comment = line.partition("--")
        assert not dashes or line.lstrip().startswith("--"), (
            f"{path.name}: a comment stands on a line of its own: {comment}"
        )
    for quoted in re.findall(r"'[^']*'", "\n".join(split_script(text))):
        assert ";" not in quoted, f"{path.name}: the script is cut at every semicolon, also in {quoted}"
    if dialect != [None]:
        assert dialect[0] in {SQLITE.name, POSTGRESQL.name}
        assert path.with_name(f"{number}_{name}.sql").is_file(), (
            f"{path.name} stands beside one for all databases"
        )


def test_every_migration_after_the_first_says_which_code_still_works_with_it() -> None:
    common = [path for path in migration_files() if path.name.count(".") == 1]
    assert [int(path.name[:4]) for path in common] == list(range(1, len(common) + 1))
    for path in common[1:]:
        found = re.findall(r"^-- needs: (\d+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert len(found) == 1, (
            f"{path.name}: one line '-- needs: N' names the oldest schema whose code works with it"
        )
        assert 1 <= int(found[0]) <= int(path.name[:4])


def check_of(constraint: str) -> list[set[str]]:
    """The states that each version of a CHECK constraint names, over all migrations."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(MIGRATIONS.glob("*.sql")))
    found = re.findall(rf"CONSTRAINT {constraint} CHECK\s*\(+state (?:IN|=) (\([^)]*\)|'\w+')", text)
    return [set(re.findall(r"'(\w+)'", states)) for states in found]


@pytest.mark.parametrize(
    ("constraint", "states"),
    [
        ("inbox_events_state", frozenset(EventState)),
        ("inbox_events_leased", {EventState.PROCESSING}),
        ("inbox_events_due", CLAIMABLE_EVENTS),
        ("inbox_events_finished", FINISHED_EVENTS),
        ("outbox_messages_state", frozenset(MessageState)),
        ("outbox_messages_leased", {MessageState.SENDING}),
        ("outbox_messages_due", CLAIMABLE_MESSAGES),
        ("outbox_messages_finished", FINISHED_MESSAGES),
    ],
)
def test_the_database_itself_knows_the_states(constraint: str, states: frozenset[StrEnum]) -> None:
    found = check_of(constraint)
    assert found, f"no migration has a CHECK named {constraint}"
    assert found[-1] == {state.value for state in states}


@pytest.mark.parametrize(("number", "allowed"), [(0, EVENTS), (1, MESSAGES)], ids=["events", "messages"])
def test_the_diagrams_show_every_move_and_no_other(number: int, allowed: Moves) -> None:
    diagrams = code_blocks(DOCS / "concepts.md", "mermaid")
    assert len(diagrams) == 2
    arrows = re.findall(r"^\s*(\S+) --> (\w+)", diagrams[number].text, flags=re.MULTILINE)
    drawn = {Move(None if old == "[*]" else old, new) for old, new in arrows}
    assert len(drawn) == len(arrows), "a move is drawn twice"
    assert drawn == {Move(old, new) for old, news in allowed.items() for new in news}
