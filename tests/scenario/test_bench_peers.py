"""The benchmark beside peers, as far as it goes without a peer: nothing is installed, Surehook alone is measured."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from bench.peers.__main__ import main
from bench.peers.catalogue import (
    INGEST,
    NAMES,
    ON_POSTGRES,
    ON_SQLITE,
    PROCESSING,
    SUREHOOK,
    Entry,
    Selection,
    select,
)
from bench.peers.install import PACKAGE, REQUIREMENTS, WANTED, install_node, install_python, versions
from bench.peers.probe import probe
from bench.peers.stores import FileShelf, Place, RedisShelf, Store, shelves
from bench.peers.suite import PeerSuite, Sizes, beside_both
from bench.processes import BenchError, serving
from bench.report import Run, speed

from tests.services import PostgresServer


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer(in_memory=True) as server:
        yield server


def titles(entries: Selection) -> set[str]:
    return {entry.variant.name for entry in entries.entries}


def test_everybody_is_measured_by_default() -> None:
    chosen = select([], node=True)
    assert chosen.ingest == list(INGEST)
    assert chosen.processing == list(PROCESSING)
    assert not chosen.left_out
    assert set(NAMES) == {
        "sqlalchemy",
        "celery",
        "procrastinate",
        "pgqueuer",
        "dbos",
        "graphile-worker",
        "pg-boss",
        "bullmq",
    }


def test_some_may_be_selected_and_surehook_is_always_there() -> None:
    chosen = select(["bullmq", "dbos"], node=True)
    assert {entry.peer.name for entry in chosen.ingest} == {SUREHOOK.name, "bullmq", "dbos"}
    assert {entry.peer.name for entry in chosen.processing} == {SUREHOOK.name, "bullmq", "dbos"}


def test_surehook_alone_is_no_comparison() -> None:
    assert not select(["sqlalchemy"], node=True).processing, "SQLAlchemy processes nothing"


def test_without_node_its_rows_are_named_and_left_out() -> None:
    chosen = select([], node=False)
    assert not any(entry.needs_node for entry in chosen.entries)
    assert set(chosen.left_out) == titles(select([], node=True)) - titles(chosen)
    assert any("BullMQ" in title for title in chosen.left_out)


def test_only_peers_that_need_node_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["--only", "bullmq"]) == 1
    assert "Node.js" in capsys.readouterr().err


def test_an_unknown_peer_is_refused_with_the_known_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nobody"])
    said = capsys.readouterr().err
    assert all(name in said for name in NAMES)


@pytest.mark.parametrize("entry", [*INGEST, *PROCESSING], ids=lambda entry: entry.variant.name)
def test_every_row_says_what_it_promises(entry: Entry) -> None:
    promises = {
        Place.SQLITE: "SQLite WAL, synchronous=FULL; ",
        Place.POSTGRESQL: "PostgreSQL, logged tables, synchronous_commit=on; ",
        Place.REDIS_ALWAYS: "Redis, append-only file, appendfsync=always: synced before the answer; ",
        Place.REDIS_EVERYSEC: "Redis, append-only file, appendfsync=everysec: answered up to a second BEFORE the sync; ",
    }
    assert entry.variant.durability.startswith(promises[entry.place])
    if entry in INGEST:
        said = re.search(
            r"once per event|once while it waits|once until it has run", entry.variant.durability
        )
        assert bool(said) is entry.peer.deduplicates


def test_rows_are_told_apart_by_their_titles() -> None:
    for entries in (INGEST, PROCESSING):
        names = [entry.variant.name for entry in entries]
        assert len(set(names)) == len(names)


def test_ratios_are_of_runs_of_one_round() -> None:
    rates = {ON_SQLITE: (100.0, 300.0), ON_POSTGRES: (50.0, 60.0)}
    chosen = select(["pgqueuer", "celery"], node=False)
    rounds = [
        {
            entry: Run(entry.variant.name, rates.get(entry.variant.name, (10.0, 20.0))[number], 1.0, 1)
            for entry in chosen.ingest
        }
        for number in (0, 1)
    ]
    beside_all, on_postgres = beside_both("ingest", rounds)
    assert beside_all.subject.name == ON_SQLITE
    assert len(beside_all.floors) == len(chosen.ingest) - 1
    assert on_postgres.subject.name == ON_POSTGRES
    assert [floor.name for floor in on_postgres.floors] == ["FastAPI + PgQueuer"], (
        "who is on PostgreSQL as well"
    )
    ratio = speed(on_postgres, on_postgres.floors[0])
    assert (ratio.low, ratio.median, ratio.high) == (3.0, 4.0, 5.0)


def test_everything_that_is_installed_is_pinned() -> None:
    pinned = versions()
    assert len(pinned) > 10
    locked = REQUIREMENTS.read_text(encoding="utf-8")
    for line in WANTED.read_text(encoding="utf-8").split():
        assert re.sub(r"\[.*\]", "", line) in locked, f"run make requirements: {line}"
    packages = json.loads(PACKAGE.read_text(encoding="utf-8"))["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in packages.values())
    assert not [path for path in PACKAGE.parent.glob("*lock*") if path.is_file()], "it would name a registry"


def test_an_installation_that_fails_says_what_was_run(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("this is no requirement\n")
    with pytest.raises(BenchError, match=r"could not be installed: .*pip install(.|\n)*Invalid requirement"):
        install_python(tmp_path / "requirements.txt", tmp_path / "venv")
    (tmp_path / "package.json").write_text("this is no package")
    with pytest.raises(BenchError, match="could not be installed"):
        install_node(tmp_path / "package.json", tmp_path / "node_modules")
    assert not list(tmp_path.rglob(".made-from")), "the next run would take it as installed"


def test_what_is_installed_is_not_installed_again(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# nothing\n")
    install_python(tmp_path / "requirements.txt", tmp_path / "venv")
    made = (tmp_path / "venv" / ".made-from").stat()
    install_python(tmp_path / "requirements.txt", tmp_path / "venv")
    assert (tmp_path / "venv" / ".made-from").stat() == made


def test_a_probe_takes_a_server_that_verifies_and_refuses_one_that_does_not(tmp_path: Path) -> None:
    with serving("bench.server", "group-commit", f"sqlite:///{tmp_path / 'events.db'}") as server:
        probe("Surehook", server.port)
    with (
        serving("bench.receiver") as receiver,
        pytest.raises(BenchError, match=r"forged one were answered \[204"),
    ):
        probe("a sink", receiver.port)


def test_a_store_is_filled_once_and_copied(tmp_path: Path) -> None:
    filled: list[str] = []

    def fill(store: Store) -> None:
        with serving("bench.server", "group-commit", store.url) as server:
            probe("Surehook", server.port)
        filled.append(store.url)

    shelf = FileShelf(tmp_path)
    for _ in range(2):
        with shelf.filled("events", fill) as store:
            assert store.holds("SELECT 1 FROM inbox_events")
            assert store.count("SELECT 1 FROM inbox_events") == 1
            assert store.url not in filled
    assert len(filled) == 1


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_redis_counts_what_it_keeps(appendfsync: str) -> None:
    with RedisShelf(appendfsync).empty() as store, redis.Redis.from_url(store.url) as client:
        assert not store.holds("list hash scores")
        client.rpush("list", "a", "b")
        client.hset("hash", "a", "1")
        client.zadd("scores", {"a": 1, "b": 2, "c": 3})
        assert store.holds("hash")
        assert store.count("list hash scores") == 6
        assert client.config_get("appendfsync") == {"appendfsync": appendfsync}


@pytest.mark.timeout(200)
def test_surehook_is_measured_and_counted(postgres: PostgresServer, tmp_path: Path) -> None:
    ours = select([], node=True)
    received = [entry for entry in ours.ingest if entry.is_surehook]
    processed = [entry for entry in ours.processing if entry.is_surehook]
    said: list[str] = []
    suite = PeerSuite(shelves(tmp_path, postgres), Sizes(1, quick=True), said.append)
    ingest, processing = suite.everything(Selection(received, processed, left_out=()))
    assert len(said) == 4
    for found in (ingest, processing):
        assert [variant.name for variant in (found.subject, *found.floors)] == [ON_SQLITE, ON_POSTGRES]
        assert [run.verified for run in found.rounds[0]] == [300, 300], "100 events, and 200 to warm up"
        assert all(run.rate > 0 for run in found.rounds[0])
    assert ingest.rounds[0][1].details["store_cpu_us"] >= 0
