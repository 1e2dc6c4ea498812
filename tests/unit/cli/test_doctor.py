"""``surehook doctor``: one line for each check, what to do where one is not well, and no password."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from surehook.wiring.doctor.versions import satisfies
from tests.services import Pgbouncer, PostgresServer, RedisServer, free_port, require, until
from tests.unit.cli.conftest import CommandLine

PORTS = "[server]\nport = 0\n[console]\nport = 0\n"


@pytest.fixture
def settings(folder: Path) -> Path:
    """The configuration file, with ports that are never taken."""
    path = folder / "surehook.toml"
    path.write_text(PORTS)
    return path


def diagnosed(surehook: CommandLine, *arguments: str, code: int = 0) -> list[tuple[str, str, str]]:
    """Check, level and text of each finding; none of them tells a password."""
    result = surehook("doctor", "--json", *arguments)
    assert "verysecret" not in result.output
    assert result.exit_code == code, result.output
    assert not result.stderr
    document = json_of(result.stdout)
    assert document["ok"] is (code == 0)
    return [(each["check"], each["level"], each["text"]) for each in document["checks"]]


def json_of(text: str) -> dict[str, Any]:
    return msgspec.json.decode(text, type=dict[str, Any])


def of(place: str, findings: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Level and text of the findings of one check."""
    return [(level, text) for check, level, text in findings if check == place]


def levels(place: str, findings: list[tuple[str, str, str]]) -> list[str]:
    return [level for level, _ in of(place, findings)]


@pytest.mark.usefixtures("own_app")
def test_a_new_project_is_well_and_nothing_is_made(surehook: CommandLine, folder: Path) -> None:
    surehook("init")
    before = sorted(folder.rglob("*"))
    (folder / "surehook.toml").write_text(
        (folder / "surehook.toml").read_text().replace("port = 8080", "port = 0") + "[console]\nport = 0"
    )
    findings = diagnosed(surehook)
    assert {check for check, _, _ in findings} >= {
        "python",
        "libraries",
        "configuration",
        "providers.github",
        "destinations.ledger",
        "app",
        "database",
        "queue",
        "server.port",
        "console.port",
    }
    assert of("app", findings) == [("ok", "app:app has 2 handlers")]
    [(warning, text)] = [(check, text) for check, level, text in findings if level != "ok"]
    assert warning == "database"
    assert text == "there is no surehook.db yet: `surehook run` and `surehook migrate up` make it"
    assert [
        path for path in sorted(folder.rglob("*")) if path.suffix != ".pyc" and path.name != "__pycache__"
    ] == before


@pytest.mark.usefixtures("settings")
def test_a_line_says_level_check_and_text(surehook: CommandLine) -> None:
    surehook("migrate", "up")
    result = surehook("doctor")
    assert result.exit_code == 0
    *lines, empty, verdict = result.stdout.splitlines()
    assert (empty, verdict) == ("", "0 failed, 0 warnings.")
    assert all(line.startswith("ok       ") for line in lines)
    assert "ok       database       its schema is current, and it can be written to" in lines


def test_everything_that_is_wrong_is_told_at_once(surehook: CommandLine, settings: Path) -> None:
    settings.write_text(
        "app = 'nothing_here:app'\ndatabase = 'sqlite:///none/x.db'\nqueue = 'env:NO_QUEUE'\nlog_levl = 'x'\n"
        "[providers.stripe]\nsecrets = ['env:NO_SECRET']\n"
        "[destinations.ledger]\nurl = 'https://169.254.169.254/'\nsecrets = ['file:none']\n"
        f"[server]\nport = 0\nmin_free_disk = {2**60}\n[console]\nhost = '203.0.113.1'\ntoken = 'env:NO_TOKEN'"
    )
    findings = diagnosed(surehook, code=1)
    [(level, text)] = of("configuration", findings)
    assert (level, "Did you mean 'log_level'?" in text) == ("failed", True)
    assert "the environment variable of env:NO_SECRET is not set" in of("providers.stripe", findings)[0][1]
    assert "169.254.169.254 is a reserved, link-local" in of("destinations.ledger", findings)[0][1]
    assert (
        "destinations.ledger.secrets: the secret file:none cannot be read"
        in of("destinations.ledger", findings)[1][1]
    )
    assert "console.token: the environment variable of env:NO_TOKEN" in of("console.token", findings)[0][1]
    assert "there is no module 'nothing_here'" in of("app", findings)[0][1]
    missing, durable, disk = of("database", findings)
    assert missing[0] == "failed"
    assert "none/x.db: there is no folder" in missing[1]
    assert (durable[0], disk[0]) == ("ok", "failed")
    assert "server.min_free_disk is 1073741824GiB: make room" in disk[1]
    assert of("queue", findings) == [
        ("failed", "queue: the environment variable of env:NO_QUEUE is not set: export it")
    ]
    assert levels("server.port", findings) == ["ok"]
    assert "cannot listen on 203.0.113.1:8081" in of("console.port", findings)[0][1]


def test_what_has_a_problem_in_the_settings_is_not_looked_at(surehook: CommandLine, settings: Path) -> None:
    settings.write_text(f"database = 'mysql://u:verysecret@h/d'\nqueue = 'amqp://'\n{PORTS}")
    findings = diagnosed(surehook, code=1)
    assert levels("configuration", findings) == ["failed", "failed"]
    assert not {"database", "queue"} & {check for check, _, _ in findings}


@pytest.mark.parametrize(
    ("text", "complaint"), [("a = !", "not valid TOML"), (None, "there is no such file")]
)
def test_a_file_that_cannot_be_read_is_a_failed_check(
    surehook: CommandLine, folder: Path, text: str | None, complaint: str
) -> None:
    if text is not None:
        (folder / "x.toml").write_text(text)
    [(check, level, told)] = diagnosed(surehook, "--config", "x.toml", code=1)
    assert (check, level, complaint in told) == ("configuration", "failed", True)


@pytest.mark.usefixtures("own_app")
def test_doubts_are_warnings(surehook: CommandLine, settings: Path, folder: Path) -> None:
    (folder / "app.py").write_text(
        "from surehook import App\napp = App()\n@app.on('strip')\nasync def paid(event): pass\n"
    )
    settings.write_text(
        f"app = 'app:app'\ndatabase = 'sqlite:///x.db?synchronous=NORMAL'\n{PORTS}[providers.stripe]\nenabled = false\n"
        "secrets = ['env:X']\n"
    )
    surehook("migrate", "up")
    findings = diagnosed(surehook)
    assert of("app", findings)[0] == ("ok", "app:app has 1 handler")
    assert "Did you mean 'stripe'?" in of("app", findings)[1][1]
    assert (
        "warning",
        "synchronous=NORMAL: a power cut loses acknowledged events. Take the option out of the URL",
    ) in of("database", findings)


@pytest.mark.usefixtures("settings")
def test_a_schema_that_is_missing_is_a_warning_and_another_one_a_failure(
    surehook: CommandLine, folder: Path
) -> None:
    surehook("migrate", "up")
    connection = apsw.Connection(str(folder / "surehook.db"))
    connection.execute("UPDATE schema_migrations SET checksum = 'x' WHERE version = 1")
    assert "was changed after it had been applied" in of("database", diagnosed(surehook, code=1))[1][1]
    connection.execute("DROP TABLE schema_migrations")
    connection.close()
    level, text = of("database", diagnosed(surehook))[1]
    assert (level, text.partition(" [")[0]) == ("warning", "it lacks migrations")


def test_a_folder_in_place_of_the_database_is_a_failed_check(surehook: CommandLine, settings: Path) -> None:
    settings.write_text(f"database = 'sqlite:///.'\n{PORTS}")
    assert ". is a folder: name a file in it" in of("database", diagnosed(surehook, code=1))[0][1]


def test_a_port_that_another_program_has_is_a_failed_check(surehook: CommandLine, settings: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings.write_text(f"[server]\nport = {port}\n[console]\nport = 0\n")
        [(level, text)] = of("server.port", diagnosed(surehook, code=1))
    assert (level, f"127.0.0.1:{port} is in use: stop what listens there" in text) == ("failed", True)
    assert of("server.port", diagnosed(surehook)) == [("ok", f"127.0.0.1:{port} is free")]


def test_beside_a_running_surehook_all_is_well(surehook: CommandLine, settings: Path) -> None:
    server, console = free_port(), free_port()
    settings.write_text(f"[server]\nport = {server}\n[console]\nport = {console}\n")
    with running("run"):
        until(
            lambda: levels("console.port", diagnosed(surehook)) == ["ok"] and listens(console), "it listens"
        )
        findings = diagnosed(surehook)
    assert of("server.port", findings) == [("ok", f"a Surehook listens on 127.0.0.1:{server}")]
    assert of("console.port", findings) == [("ok", f"a Surehook listens on 127.0.0.1:{console}")]
    assert ("ok", "its schema is current, and it can be written to") in of("database", findings)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "surehook", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_libraries_are_judged_by_what_the_package_asks_for(
    surehook: CommandLine, settings: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = folder / "site" / "surehook-9.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: surehook\nVersion: 9\nRequires-Dist: aiohttp<3,>=2\nRequires-Dist: click>=8\n"
        'Requires-Dist: not-there-at-all>=1\nRequires-Dist: nor-this>=1; extra == "x"\n'
    )
    monkeypatch.syspath_prepend(folder / "site")
    first, second = of("libraries", diagnosed(surehook, code=1))
    assert first[1].startswith("aiohttp <3,>=2 is needed, found 3.")
    assert second == ("failed", "not-there-at-all >=1 is needed, found none: reinstall surehook")


@pytest.mark.parametrize(
    ("version", "bounds", "wanted"),
    [
        ("3.14.5", ">=3.14.5,<3.15", True),
        ("3.14.4", ">=3.14.5,<3.15", False),
        ("3.15", "<3.15,>=3.14.5", False),
        ("3.15.0rc1", "<3.15", False),
        ("10.0", ">=9", True),
        ("3.51.3.0", ">=3.51.3.0", True),
        ("3.51.3", ">=3.51.3.0", True),
        ("1", "", True),
    ],
)
def test_bounds_of_versions(version: str, bounds: str, wanted: bool) -> None:
    assert satisfies(version, bounds) is wanted


@pytest.fixture
def empty_database(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database() as url:
        yield url


def use(monkeypatch: pytest.MonkeyPatch, settings: Path, url: str, more: str = "") -> None:
    """Let the settings name a database by reference, as they should."""
    monkeypatch.setenv("THE_DATABASE", url)
    settings.write_text(f"database = 'env:THE_DATABASE'\n{PORTS}{more}")


def test_postgres(
    surehook: CommandLine, settings: Path, monkeypatch: pytest.MonkeyPatch, empty_database: str
) -> None:
    use(monkeypatch, settings, empty_database)
    findings = of("database", diagnosed(surehook))
    assert [level for level, _ in findings] == ["ok", "warning", "ok", "ok"]
    answers, schema, connections, clock = (text for _, text in findings)
    assert answers.startswith("PostgreSQL 1")
    assert schema.startswith("it lacks migrations [1")
    assert connections == "max_connections is 200: enough for 7 processes of 27"
    assert clock == "its clock and this machine's agree within a second"
    assert surehook("migrate", "up").exit_code == 0
    assert of("database", diagnosed(surehook))[1] == ("ok", "its schema is current, and it can be written to")


def test_a_postgres_with_too_few_connections_or_weak_commits_is_warned_of(
    surehook: CommandLine, settings: Path, monkeypatch: pytest.MonkeyPatch, empty_database: str
) -> None:
    weak = f"{empty_database}?options=-csynchronous_commit%3Doff"
    use(monkeypatch, settings, weak, "[postgres]\nconnections = 194\n")
    found = [text for level, text in of("database", diagnosed(surehook)) if level == "warning"]
    assert any("synchronous_commit=off" in text for text in found)
    assert any(text.startswith("max_connections is 200, and one process may need 201") for text in found)


def test_a_postgres_that_cannot_be_reached_is_a_failed_check(
    surehook: CommandLine, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, settings, f"postgresql://u:verysecret@127.0.0.1:{free_port()}/d")
    [(level, text)] = of("database", diagnosed(surehook, code=1))
    assert level == "failed"
    assert "cannot connect to PostgreSQL" in text


def test_a_postgres_without_fsync_is_a_failed_check(
    surehook: CommandLine, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PostgresServer({"fsync": "off"}, in_memory=True) as server, server.database() as url:
        use(monkeypatch, settings, url)
        [(level, text)] = of("database", diagnosed(surehook, code=1))
    assert (level, "fsync=off" in text) == ("failed", True)


def test_behind_a_pooler_the_doctor_asks_for_a_way_past_it(
    surehook: CommandLine,
    settings: Path,
    monkeypatch: pytest.MonkeyPatch,
    postgres: PostgresServer,
    empty_database: str,
) -> None:
    name = empty_database.rpartition("/")[2]
    with Pgbouncer(postgres) as pooler:
        use(monkeypatch, settings, pooler.url(name))
        [pooled] = [text for level, text in of("database", diagnosed(surehook)) if "pooler" in text]
        assert "Set postgres.listen_url to the server itself" in pooled
        use(monkeypatch, settings, pooler.url(name), f"[postgres]\nlisten_url = '{empty_database}'\n")
        findings = diagnosed(surehook)
        assert ("ok", "a transaction pooler stands in between") in of("database", findings)
        assert of("postgres.listen_url", findings) == [("ok", "leads to the server")]
        use(monkeypatch, settings, pooler.url(name), "[postgres]\nlisten_url = 'env:THE_DATABASE'\n")
        [(level, text)] = of("postgres.listen_url", diagnosed(surehook))
        assert (level, "leads to a transaction pooler" in text) == ("warning", True)


def test_clocks_that_are_an_hour_apart_are_warned_of(
    settings: Path, monkeypatch: pytest.MonkeyPatch, empty_database: str
) -> None:
    use(monkeypatch, settings, empty_database)
    command = [
        str(require("faketime", "faketime")),
        "-f",
        "+3600s",
        sys.executable,
        "-m",
        "surehook",
        "doctor",
    ]
    environment = {**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "warning  database       its clock is -3600." in run.stdout


def test_redis(
    surehook: CommandLine, settings: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_QUEUE", redis_server.url(3))
    settings.write_text(f"queue = 'env:THE_QUEUE'\n{PORTS}")
    [(level, text)] = of("queue", diagnosed(surehook))
    assert (level, text.startswith("Redis ")) == ("ok", True)


def test_a_redis_that_evicts_is_warned_of(surehook: CommandLine, settings: Path) -> None:
    with RedisServer() as server:
        settings.write_text(f"queue = '{server.url()}'\n{PORTS}")
        with server.client() as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.set("a", b"x" * 1_000_000)
            client.config_set("maxmemory", client.info("memory")["used_memory"] - 500_000)
            until(lambda: client.info("stats")["evicted_keys"] > 0, "a key is evicted")
        _, policy, evicted = of("queue", diagnosed(surehook))
    assert policy[0] == evicted[0] == "warning"
    assert policy[1].startswith("maxmemory-policy is allkeys-lru")
    assert evicted[1].startswith("it has evicted 1 keys")


def test_a_redis_that_cannot_be_used_is_a_failed_check(
    surehook: CommandLine, settings: Path, redis_server: RedisServer
) -> None:
    settings.write_text(f"queue = 'redis://:verysecret@127.0.0.1:{free_port()}'\n{PORTS}")
    [(level, text)] = of("queue", diagnosed(surehook, code=1))
    assert (level, "Connect call failed" in text) == ("failed", True)
    with RedisServer() as server:
        with server.client() as client:
            client.config_set("requirepass", "another")
        settings.write_text(f"queue = '{server.url().replace('://', '://:verysecret@')}'\n{PORTS}")
        [(level, text)] = of("queue", diagnosed(surehook, code=1))
        assert (level, "invalid username-password pair" in text) == ("failed", True)
    with RedisServer({"replicaof": f"127.0.0.1 {redis_server.port}"}) as replica:
        settings.write_text(f"queue = '{replica.url()}'\n{PORTS}")
        assert "name its primary" in of("queue", diagnosed(surehook, code=1))[1][1]


def test_a_redis_that_does_not_answer_in_time_is_a_failed_check(
    surehook: CommandLine, settings: Path
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        settings.write_text(f"queue = '{url}'\n{PORTS}[redis]\ntimeout = '200ms'\n")
        [(level, text)] = of("queue", diagnosed(surehook, code=1))
    assert level == "failed"
    assert "Timeout" in text or "no answer within 0.2 s" in text
