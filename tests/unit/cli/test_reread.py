"""``events reread``: what a mended pack makes of stored requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surehook.ids import EVENT_PREFIX, typeid
from surehook.states import Reason
from surehook.storage.sqlite import SqliteDatabase
from tests.builders import arrival
from tests.unit.cli.conftest import CommandLine, Fill

WHY = ("--reason", "the pack was mended", "--actor", "ada")
NOBODY = typeid(EVENT_PREFIX, bytes(16))


@pytest.fixture(autouse=True)
def configured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "surehook.toml").write_text('[providers.stripe]\nsecrets = ["env:STRIPE"]\n')
    monkeypatch.setenv("STRIPE", "whsec_right")


@pytest.fixture
def dead(with_database: Fill) -> list[str]:
    """Two that an older pack could not read, one that cannot be read still."""

    async def fill(database: SqliteDatabase) -> list[str]:
        now = await database.reader.database_time()
        bodies = [b'{"id": "evt_1", "type": "a"}', b'{"id": "evt_2", "type": "b"}', b"?"]
        given = [
            arrival(
                f"hash-{body!r}"[:20], body, dead=Reason.UNPARSABLE, weak=True, type="stripe", now=now + n
            )
            for n, body in enumerate(bodies)
        ]
        return [typeid(EVENT_PREFIX, one.id) for [one] in await database.storage.accept(given)]

    found: list[str] = with_database(fill)
    return found


def test_what_can_be_read_now_will_run(surehook: CommandLine, dead: list[str]) -> None:
    result = surehook("events", "reread", dead[0], dead[2], *WHY)
    assert result.exit_code == 4
    assert result.stdout == f"{dead[0]}  is read otherwise now; will run (was DEAD)\n"
    assert result.stderr.startswith(f"{dead[2]}  left alone: the body cannot be read")
    story = surehook.json("events", "show", dead[0])
    assert (story["type"], story["state"], story["reason"]) == ("a", "RECEIVED", None)
    assert "reread.event by ada" in surehook("events", "show", dead[0]).stdout
    again = surehook("events", "reread", dead[0], *WHY)
    assert (again.exit_code, again.stdout) == (0, f"{dead[0]}  is read as before\n")


def test_all_of_a_provider_are_read_again(surehook: CommandLine, dead: list[str]) -> None:
    result = surehook("events", "reread", "--provider", "stripe", "--state", "dead", *WHY, "--json")
    told = json.loads(result.stdout)
    assert [(each["id"], each["revived"]) for each in told] == list(
        zip(dead, [True, True, False], strict=True)
    )
    assert [each["was"] for each in told] == ["DEAD"] * 3
    assert surehook("events", "reread", "--provider", "nobody", *WHY).stdout == "No events.\n"


def test_what_there_is_none_of_is_code_3(surehook: CommandLine, dead: list[str]) -> None:
    result = surehook("events", "reread", typeid(EVENT_PREFIX, bytes(16)), *WHY)
    assert (result.exit_code, "there is none of this id" in result.stderr) == (3, True)
    result = surehook("events", "reread", dead[0], "--state", "DEAD", *WHY)
    assert (result.exit_code, "--state goes with --provider" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name ids, or a --provider"),
        ((NOBODY, "--provider", "stripe"), "one of both"),
        ((NOBODY, "--since", "2h"), "one of both"),
        (("--provider", "stripe", "--since", "yesterday"), "'yesterday' is neither a duration"),
    ],
)
def test_what_cannot_be_chosen(surehook: CommandLine, arguments: tuple[str, ...], message: str) -> None:
    result = surehook("events", "reread", *arguments, *WHY)
    assert result.exit_code == 2
    assert message in result.stderr
