"""``run``, ``run --reload`` and ``send``: real processes, a new project, real requests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from surehook.cli.reload import snapshot
from surehook.cli.run import print_banner
from surehook.config import load
from tests.unit.cli.conftest import CommandLine

DEADLINE = 30.0


def wait_until(holds: Callable[[], Any], what: str) -> Any:
    """Wait for a condition; AssertionError when it does not come."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not in {DEADLINE} s: {what}")


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


class Project:
    """A new project with ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, console = free_ports()
        settings = folder / "surehook.toml"
        text = settings.read_text().replace("8080", str(self.port))
        settings.write_text(f"{text}\n[console]\nport = {console}\n\n[providers.open]\npack = 'none'\n")

    def ready(self) -> bool:
        """Whether it can do its work."""
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz") as answer,
        ):
            return bool(answer.status == 200)
        return False

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """The process, killed at the end if it still runs; what it writes goes into ``out`` and ``err``."""
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "surehook", "run", *arguments],
                cwd=self.folder,
                stdout=out,
                stderr=err,
                text=True,
            )
            try:
                yield process
            finally:
                process.terminate()  # not SIGKILL: with --reload there is a child to be ended too
                process.wait(DEADLINE)

    def log(self) -> str:
        """What it has written to stderr."""
        return (self.folder / "err").read_text()


@pytest.fixture
def project(surehook: CommandLine, folder: Path) -> Project:
    assert surehook("init").exit_code == 0
    return Project(folder)


def statuses(result: Any) -> Sequence[int]:
    return [answer["status"] for answer in json.loads(result.stdout)]


def test_a_new_project_runs_and_takes_what_send_sends(surehook: CommandLine, project: Project) -> None:
    with project.running() as process:
        wait_until(project.ready, f"it is ready: {project.log()}")

        [answer] = surehook.json("send", "stripe", "--topic", "billing", "--type", "invoice.paid")
        [event] = answer["events"]
        assert (answer["status"], answer["accepted"], event["duplicate"]) == (200, True, False)

        def shown() -> Any:
            found = surehook.json("events", "show", event["id"])
            return found if found["messages"] and found["messages"][0]["state"] == "SENT" else None

        story = wait_until(shown, "its message is sent")
        assert (story["topic"], story["type"], story["external_id"]) == (
            "billing",
            "invoice.paid",
            answer["external_id"],
        )

        def repeated() -> Any:
            found = surehook.json("events", "show", event["id"])
            return (
                found
                if (found["state"], found["replays"], found["attempts"]) == ("PROCESSED", 1, 1)
                else None
            )

        why = ("--reason", "to see that it can be repeated")
        assert surehook("events", "replay", event["id"], *why).exit_code == 0
        assert wait_until(repeated, "the template's handlers bear a replay")["failures"] == []

        first, second = surehook.json("send", "--duplicate", "--id", "gh-1")
        assert [first["events"][0]["duplicate"], second["events"][0]["duplicate"]] == [False, True]

        assert surehook.json("send", "github", "--count", "25") != []
        assert "25" in surehook("send", "github", "--count", "25").stdout
        dead = surehook.json("events", "list", "--state", "DEAD")
        assert dead == [], "samples differ, so none of them is suspect"

        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
        assert all("timestamp" in json.loads(line) for line in project.log().splitlines())
        assert "error" not in {json.loads(line)["level"].lower() for line in project.log().splitlines()}


def test_send_ends_with_1_when_the_answer_is_not_the_wanted_one(
    surehook: CommandLine, project: Project
) -> None:
    with project.running():
        wait_until(project.ready, f"it is ready: {project.log()}")
        for provider in ("stripe", "github", "ledger"):
            forged = surehook("send", provider, "--forge", "--json")
            assert (forged.exit_code, statuses(forged)) == (0, [401]), provider
        for provider in ("stripe", "ledger"):
            stale = surehook("send", provider, "--stale", "--json")
            assert (stale.exit_code, statuses(stale)) == (0, [401]), provider
        refused = surehook("send", "stripe", "--forge")
        assert "The request could not be authenticated." in refused.stdout
        reasons = [row["reason"] for row in surehook.json("rejections", "list")]
        assert set(reasons) == {"BAD_SIGNATURE"}

        Path("body.json").write_bytes(b'{"id": "mine", "type": "x"}')
        assert surehook("send", "stripe", "--body", "body.json").exit_code == 0
        assert surehook("send", "stripe", "--body", "-", input=b'{"id": "mine2", "type": "x"}').exit_code == 0
        ids = {row["external_id"] for row in surehook.json("events", "list", "--provider", "stripe")}
        assert ids == {"mine", "mine2"}
        for provider in ("stripe", "open", "github"):
            [told] = surehook.json("send", provider, "--body", "body.json")
            story = surehook.json("events", "show", told["events"][0]["id"])
            assert told["external_id"] == story["external_id"]

        Path("secrets/stripe").write_text("whsec_another\n")
        unknown = surehook("send", "stripe", "--json")
        assert (unknown.exit_code, statuses(unknown)) == (1, [401])
        assert f"401: is http://127.0.0.1:{project.port} the server of this configuration" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["send", "open", "--forge"], 2, "open verifies nothing, so nothing can be forged."),
        (["send", "github", "--stale"], 2, "github signs no time, so nothing can be stale."),
        (["send", "stripe", "--id", "x", "--count", "2"], 2, "--id names one event"),
        (["send", "strpe"], 3, "Did you mean 'stripe'?"),
        (["send", "stripe"], 1, "Does `surehook run` run?"),
        (["send", "stripe", "--url", "127.0.0.1:8080"], 2, "is not the base address of a server"),
        (["send", "stripe", "--url", "http://h:x"], 2, "is not the base address of a server"),
        (["send", "stripe", "--url", "http://h/webhooks/stripe"], 2, "/webhooks/PROVIDER is added to it"),
        (
            ["send", "stripe", "--count", "9", "--url", "http://127.0.0.1:9"],
            1,
            "http://127.0.0.1:9/webhooks/stripe",
        ),
    ],
)
@pytest.mark.usefixtures("project")
def test_what_send_cannot_do(surehook: CommandLine, arguments: list[str], code: int, message: str) -> None:
    result = surehook(*arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""


def test_run_without_migrations_refuses_a_database_that_needs_them(project: Project) -> None:
    with project.running("--no-migrate") as process:
        assert process.wait(DEADLINE) == 1
    assert project.log().splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in project.log()


@pytest.mark.parametrize("arguments", [[], ["--port", "9"], ["--reload"]])
def test_run_refuses_a_folder_without_configuration(
    surehook: CommandLine, folder: Path, arguments: list[str]
) -> None:
    result = surehook("run", *arguments)
    assert result.exit_code == 2
    for part in ("there is no surehook.toml", "`surehook init`", "--config", "--database"):
        assert part in result.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["--database", "sqlite:///x.db"], {}), ([], {"SUREHOOK_DATABASE": "sqlite:///x.db"})],
)
def test_run_needs_no_file_where_something_is_configured(
    folder: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "surehook", "run", "--role", "worker", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr
        line = process.stderr.readline()
        process.terminate()
        process.communicate(timeout=DEADLINE)
    assert json.loads(line)["event"] == "node.started"
    assert (folder / "x.db").exists()


def test_the_banner_names_no_port_that_is_not_known_yet(capsys: pytest.CaptureFixture[str]) -> None:
    settings = load(
        None, {"SUREHOOK_PROVIDERS": '{stripe = {secrets = ["env:X"]}}'}, {"server.port": 0}
    ).settings
    print_banner(settings, ("ingest", "console"), colour=False)
    text = capsys.readouterr().out
    assert "/webhooks/stripe (its port: see the line 'surehook is ready')" in text
    assert "http://127.0.0.1:8081/readyz" in text
    assert ":0/" not in text


def test_send_needs_an_address_where_the_port_is_any(surehook: CommandLine, project: Project) -> None:
    settings = project.folder / "surehook.toml"
    settings.write_text(settings.read_text().replace(f"port = {project.port}", "port = 0"))
    result = surehook("send", "stripe")
    assert result.exit_code == 2
    assert "--url" in result.stderr


def test_run_tells_that_its_port_is_taken(project: Project) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", project.port))
        other.listen()
        with project.running() as process:
            assert process.wait(DEADLINE) in (1, 2)
    assert str(project.port) in project.log()
    assert "Traceback" not in project.log()


def test_the_banner_says_where_things_are(
    surehook: CommandLine, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load(None, {}, {"app": None}).settings
    print_banner(settings, ("ingest", "worker", "console"), colour=False)
    text = capsys.readouterr().out
    sys.modules.pop("app", None)
    for part in (f"http://127.0.0.1:{project.port}/webhooks/stripe", "/readyz", "sqlite:///surehook.db"):
        assert part in text
    assert "app.record_invoice for stripe invoice.*" in text
    assert "publisher" not in text


def test_reload_starts_again_when_a_file_changes(project: Project) -> None:
    app, starts = project.folder / "app.py", project.folder / "starts"
    original = app.read_text()
    counting = (
        original
        + "\nimport os, pathlib\nwith pathlib.Path('starts').open('a') as file:\n    print(os.getpid(), file=file)\n"
    )

    def begun(count: int) -> bool:
        return starts.exists() and len(starts.read_text().splitlines()) == count and project.ready()

    app.write_text(counting)
    with project.running("--reload", "--drain-timeout", "5s") as process:
        wait_until(lambda: begun(1), f"the first start: {project.log()}")
        app.write_text(counting + "# a change\n")
        wait_until(lambda: begun(2), f"the second start: {project.log()}")
        assert "app.py has changed: starting again" in project.log()
        assert all("timestamp" in json.loads(line) for line in project.log().splitlines())

        app.write_text(counting + "a mistake\n")
        wait_until(
            lambda: "ended with code 2; waiting for a change" in project.log(), "it waits for a change"
        )
        assert "SyntaxError" in project.log()
        settings = project.folder / "surehook.toml"
        app.write_text(counting)
        wait_until(lambda: begun(3), f"the third start: {project.log()}")
        settings.write_text(settings.read_text() + "\n[rejections]\nkeep = 5\n")
        wait_until(lambda: begun(4), f"the fourth start: {project.log()}")

        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0
        assert not project.ready()
    assert len(set(starts.read_text().split())) == 4


def test_only_the_users_own_files_are_watched(tmp_path: Path) -> None:
    for name in (
        "a.py",
        "pkg/b.py",
        ".venv/c.py",
        "node_modules/d.py",
        "pkg/__pycache__/e.py",
        "x.txt",
        "s.toml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = snapshot(tmp_path, tmp_path / "s.toml")
    assert sorted(str(path.relative_to(tmp_path)) for path in found) == ["a.py", "pkg/b.py", "s.toml"]
    (tmp_path / "a.py").write_text("x")
    assert snapshot(tmp_path, tmp_path / "s.toml") != found
    assert (tmp_path / "gone.toml") not in snapshot(tmp_path, tmp_path / "gone.toml")
