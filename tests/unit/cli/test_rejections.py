"""``rejections``, on a real database and with real signatures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from surehook.clock import Millis, isoformat
from surehook.ids import REJECTION_PREFIX, typeid
from surehook.model import Rejection, RowFilter
from surehook.packs import PACKS
from surehook.states import Reason
from surehook.storage.sqlite import SqliteDatabase
from tests.unit.cli.conftest import CommandLine, Fill

SECRET = "whsec_right"
WHY = ("--reason", "the secret was wrong", "--actor", "ada")
NOBODY = typeid(REJECTION_PREFIX, bytes(16))
HOSTILE = "\x1b[31mred"


@pytest.fixture(autouse=True)
def configured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "surehook.toml").write_text(
        '[providers.stripe]\nsecrets = ["env:STRIPE"]\n'
        '[providers.hooks]\npack = "token"\nheader = "X-Proof"\nsecrets = ["env:STRIPE"]\n'
    )
    monkeypatch.setenv("STRIPE", SECRET)


def refused(now: int, number: int = 0, **changes: Any) -> Rejection:
    body = json.dumps({"id": f"evt_{number}", "type": "invoice.paid"}).encode()
    sent = PACKS["stripe"].sign(SECRET, body, Millis(now), external_id="", type="")
    values: dict[str, Any] = {
        "provider": "stripe",
        "topic": "",
        "reason": Reason.BAD_SIGNATURE,
        "detail": f"number {number}",
        "headers": (
            *((name.lower(), value) for name, value in sent.headers.items()),
            ("x-api-key", "hunter2"),
        ),
        "body_sha256": bytes(32),
        "body_size": len(body),
        "received_at": Millis(now + number),
        "body": body,
    }
    return Rejection(**(values | changes))


@pytest.fixture
def ids(with_database: Fill) -> list[str]:
    """Three that are authentic, one with another body, one without, one of another provider; an hour ago."""

    async def fill(database: SqliteDatabase) -> list[str]:
        now = await database.reader.database_time() - 3_600_000
        await database.storage.reject(
            [
                *(refused(now, number) for number in range(3)),
                refused(now, 3, body=b'{"id": "forged"}'),
                refused(now, 4, body=None, headers=()),
                refused(
                    now, 5, provider="hooks", detail=HOSTILE, headers=(("x-proof", "wrong"),), body=b"\xff"
                ),
            ],
            keep=100,
        )
        found = await database.reader.rejections(RowFilter())
        return [typeid(REJECTION_PREFIX, row.id) for row in reversed(found)]

    found: list[str] = with_database(fill)
    return found


def test_rejections_are_listed_with_filters(surehook: CommandLine, ids: list[str]) -> None:
    def found(*filters: str) -> list[str]:
        return [row["id"] for row in surehook.json("rejections", "list", *filters)]

    assert found() == ids[::-1]
    assert found("--provider", "hooks") == ids[5:]
    assert found("--reason", "id_reused") == []
    assert found("--limit", "2") == [ids[5], ids[4]]
    rows = {row["id"]: row for row in surehook.json("rejections", "list")}
    assert [rows[id]["kept"] for id in ids] == [True, True, True, True, False, True]
    assert not {"body", "query"} & rows[ids[0]].keys()
    assert ["x-api-key", "(hidden: it may be a secret)"] in rows[ids[0]]["headers"]
    table = surehook("rejections", "list").stdout
    assert all(id in table for id in ids)
    assert "\x1b" not in table


def test_a_rejection_is_shown_without_what_may_be_a_secret(surehook: CommandLine, ids: list[str]) -> None:
    result = surehook("rejections", "show", ids[0])
    for part in (ids[0], "number 0", "stripe-signature: t=", '"evt_0"', "x-api-key: (hidden"):
        assert part in result.stdout
    assert "hunter2" not in result.stdout
    told = surehook.json("rejections", "show", ids[5])
    assert (told["headers"], told["body_base64"]) == ([["x-proof", "(hidden: it may be a secret)"]], "/w==")
    assert "The body is not kept." in surehook("rejections", "show", ids[4]).stdout
    assert surehook("rejections", "show", ids[5], "--raw").stdout_bytes == b"\xff"
    missing = typeid(REJECTION_PREFIX, bytes(16))
    result = surehook("rejections", "show", missing)
    assert (result.exit_code, missing in result.stderr) == (3, True)


def test_what_should_not_have_been_refused_is_let_in_once(surehook: CommandLine, ids: list[str]) -> None:
    result = surehook("rejections", "accept", ids[0], ids[3], *WHY)
    assert result.exit_code == 4
    [event] = surehook.json("events", "list")
    assert result.stdout == f"{ids[0]}  accepted: {event['id']}\n"
    assert result.stderr == f"{ids[3]}  still refused: no live secret made a signature in stripe-signature\n"
    assert (event["external_id"], event["type"], event["state"]) == ("evt_0", "invoice.paid", "RECEIVED")
    [entry] = surehook.json("audit", "list")
    assert (entry["actor"], entry["action"], entry["subject"]) == ("ada", "accept.rejection", ids[0])
    again = surehook("rejections", "accept", ids[0], *WHY)
    assert (again.exit_code, again.stderr) == (3, f"{ids[0]}  still refused: there is none of this id\n")
    assert len(surehook.json("events", "list")) == 1
    assert ids[0] not in [row["id"] for row in surehook.json("rejections", "list")]


def test_all_of_a_provider_are_judged_again(surehook: CommandLine, ids: list[str]) -> None:
    result = surehook("rejections", "accept", "--provider", "stripe", *WHY, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 4
    assert [(each["id"], each["accepted"]) for each in told] == list(
        zip(ids[:5], [True, True, True, False, False], strict=True)
    )
    assert "rejections.keep_bodies" in told[4]["why"]
    assert told[0]["events"] == [{"id": event_of(surehook, "evt_0")["id"], "duplicate": False}]
    left = {row["id"] for row in surehook.json("rejections", "list")}
    assert left == set(ids[3:])
    result = surehook("rejections", "accept", "--provider", "nobody", *WHY)
    assert (result.exit_code, result.stdout) == (0, "No rejections.\n")


def event_of(surehook: CommandLine, external_id: str) -> Any:
    [event] = surehook.json("events", "list", "--external-id", external_id)
    return event


def test_only_those_that_came_lately(surehook: CommandLine, with_database: Fill, ids: list[str]) -> None:
    async def fill(database: SqliteDatabase) -> int:
        now = await database.reader.database_time()
        await database.storage.reject([refused(now, 7)], keep=100)
        return now

    now = with_database(fill)
    result = surehook("rejections", "accept", "--provider", "stripe", "--since", "30m", *WHY, "--json")
    assert [each["accepted"] for each in json.loads(result.stdout)] == [True]
    moment = isoformat(now - 2 * 3_600_000)
    result = surehook("rejections", "accept", "--provider", "stripe", "--since", moment, *WHY, "--json")
    assert {each["id"] for each in json.loads(result.stdout)} == set(ids[:5])


def test_the_secret_that_is_configured_now_counts(
    surehook: CommandLine, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE", "whsec_another")
    assert surehook("rejections", "accept", ids[0], *WHY).exit_code == 1
    monkeypatch.delenv("STRIPE")
    result = surehook("rejections", "accept", ids[0], *WHY)
    assert result.exit_code == 1
    assert "is not set" in result.stderr
    assert surehook.json("events", "list") == []


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
    result = surehook("rejections", "accept", *arguments, *WHY)
    assert result.exit_code == 2
    assert message in result.stderr
