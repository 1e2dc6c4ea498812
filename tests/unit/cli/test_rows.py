"""Listing, showing, replaying and discarding, on a real database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec
import pytest

from surehook.cli.options import Options
from surehook.cli.session import Order, Verb, perform
from surehook.clock import Millis
from surehook.ids import EVENT_PREFIX, MESSAGE_PREFIX, typeid
from surehook.model import Action, ActionResult, MessageSettlement, Rejection
from surehook.states import EventState, MessageState, Reason
from surehook.storage.sqlite import SqliteDatabase
from surehook.wiring import OpenedDatabase
from tests.builders import arrival, failure, message, settlement
from tests.unit.cli.conftest import CommandLine, Fill

WHY = ("--reason", "mended the handler", "--actor", "ada")
MISSING_EVENT = typeid(EVENT_PREFIX, bytes(16))
MISSING_MESSAGE = typeid(MESSAGE_PREFIX, bytes(16))
HOSTILE = "\x1b[31mred\nline\u202e"


class Names(msgspec.Struct):
    """The ids of what the tests look at."""

    processed: str = ""
    dead: str = ""
    received: str = ""
    sent: str = ""
    lost: str = ""
    pending: str = ""


async def _fill(database: SqliteDatabase) -> Names:
    """A processed event with a sent, a dead and a waiting message; a dead event with a failure; one not yet run."""
    storage, now = database.storage, Millis(await database.reader.database_time())
    await storage.accept(
        [
            arrival("one", b'{"id": "one", "amount": 7}', now=now),
            arrival("two", b"\xff\x00", provider="github", type="push", now=now),
        ]
    )
    first, second = sorted(
        await storage.claim(2, now, Millis(now + 60_000)), key=lambda claim: claim.external_id
    )
    messages = [message(now=now), message(now=now), message("warehouse", now=now, body=b"\xff")]
    await storage.settle([settlement(first, now=now, messages=tuple(messages))])
    why = failure(now=now, message=HOSTILE, detail=f"Traceback\n  {HOSTILE}")
    dead = settlement(second, EventState.DEAD, now=now, failure=why, reason=Reason.EXHAUSTED)
    await storage.settle([dead])
    claims = {
        claim.id: claim for claim in await storage.claim_messages("ledger", 2, now, Millis(now + 60_000))
    }
    sent, lost = (claims[each.id] for each in messages[:2])
    answer = failure(now=now, error_type="HTTPStatus", message="410 Gone", detail="gone", status=410)
    await storage.settle_messages(
        [
            MessageSettlement(id=sent.id, token=sent.token, state=MessageState.SENT, at=now),
            MessageSettlement(
                id=lost.id,
                token=lost.token,
                state=MessageState.DEAD,
                at=now,
                failure=answer,
                reason=Reason.REJECTED,
            ),
        ]
    )
    [[third]] = await storage.accept([arrival("three", b"{}", type=HOSTILE, now=Millis(now + 5))])
    await storage.accept([arrival("one", b'{"id": "one", "amount": 7}', now=now)])
    await storage.reject([_rejection(now)], keep=10)
    events = [typeid(EVENT_PREFIX, id) for id in (first.id, second.id, third.id)]
    return Names(*events, *(typeid(MESSAGE_PREFIX, each.id) for each in messages))


def _rejection(now: Millis) -> Rejection:
    return Rejection(
        provider="stripe",
        topic="",
        reason=Reason.BAD_SIGNATURE,
        detail=HOSTILE,
        headers=(("x", "y"),),
        body_sha256=b"\x01" * 32,
        body_size=3,
        received_at=now,
        remote="127.0.0.1",
    )


@pytest.fixture
def names(with_database: Fill) -> Names:
    found = with_database(_fill)
    assert isinstance(found, Names)
    return found


def test_events_are_listed_with_filters(surehook: CommandLine, names: Names) -> None:
    def ids(*filters: str) -> list[str]:
        return [row["id"] for row in surehook.json("events", "list", *filters)]

    assert sorted(ids()) == sorted([names.processed, names.dead, names.received])
    assert ids("--state", "dead") == [names.dead]
    assert ids("--provider", "github") == [names.dead]
    assert ids("--type", "invoice.*") == [names.processed]
    assert ids("--external-id", "three") == [names.received]
    first = ids("--limit", "1")
    assert first + ids("--before", first[0]) == ids()


def test_a_listed_event_for_programs(surehook: CommandLine, names: Names) -> None:
    [row] = surehook.json("events", "list", "--state", "DEAD")
    assert (row["reason"], row["attempts"], row["external_id"]) == ("EXHAUSTED", 1, "two")
    assert row["received_at"].endswith("Z")
    assert "payload_id" not in row


def test_the_table_of_events_tells_the_counts_and_obeys_no_escape(
    surehook: CommandLine, names: Names
) -> None:
    result = surehook("events", "list", "--limit", "1")
    assert "All events: DEAD 1, PROCESSED 1, RECEIVED 1; duplicates 1" in result.stdout
    assert f"The next page: --before {names.received}" in result.stdout
    for line in (
        surehook("events", "list"),
        surehook("rejections", "list"),
        surehook("events", "show", names.dead),
    ):
        assert "\x1b" not in line.stdout
        assert "\u202e" not in line.stdout
        assert "\\x1b[31mred" in line.stdout


def test_show_prints_the_whole_story(surehook: CommandLine, names: Names) -> None:
    text = surehook("events", "show", names.processed).stdout
    for part in (names.processed, "PROCESSED", "Timeline", "received", names.sent, names.lost, '"amount": 7'):
        assert part in text
    assert "content-type: application/json" in text
    text = surehook("events", "show", names.dead).stdout
    for part in (
        "EXHAUSTED",
        "attempt 1 failed: ValueError",
        "Traceback",
        "DEAD",
        "2 bytes that are no text",
    ):
        assert part in text


def test_show_for_programs(surehook: CommandLine, names: Names) -> None:
    story = surehook.json("events", "show", names.processed)
    assert story["body"] == '{"id": "one", "amount": 7}'
    assert story["headers"] == [["content-type", "application/json"]]
    assert {one["id"] for one in story["messages"]} == {names.sent, names.lost, names.pending}
    assert {one["event_id"] for one in story["messages"]} == {names.processed}
    story = surehook.json("events", "show", names.dead)
    assert story["body_base64"] == "/wA="
    [failed] = story["failures"]
    assert (failed["attempt"], failed["error_type"], failed["message"]) == (1, "ValueError", HOSTILE)
    assert failed["failed_at"].endswith("Z")


def test_show_raw_writes_the_bytes(surehook: CommandLine, names: Names) -> None:
    assert surehook("events", "show", names.dead, "--raw").stdout_bytes == b"\xff\x00"
    assert surehook("messages", "show", names.pending, "--raw").stdout_bytes == b"\xff"


def test_messages_are_listed_and_shown(surehook: CommandLine, names: Names) -> None:
    def ids(*filters: str) -> set[str]:
        return {row["id"] for row in surehook.json("messages", "list", *filters)}

    assert ids() == ids("--event", names.processed) == {names.sent, names.lost, names.pending}
    assert ids("--state", "SENT") == {names.sent}
    assert ids("--destination", "warehouse") == {names.pending}
    assert ids("--event", names.dead) == set()
    assert "All messages: " in surehook("messages", "list").stdout
    text = surehook("messages", "show", names.lost).stdout
    for part in (names.processed, "REJECTED", "410 Gone", "payment.recorded"):
        assert part in text
    story = surehook.json("messages", "show", names.lost)
    assert story["failures"][0]["status"] == 410
    assert story["body"] == '{"type": "payment.recorded"}'


@pytest.mark.parametrize(("noun", "missing"), [("events", MISSING_EVENT), ("messages", MISSING_MESSAGE)])
@pytest.mark.usefixtures("names")
def test_what_does_not_exist_is_code_3(surehook: CommandLine, noun: str, missing: str) -> None:
    for arguments in (
        (noun, "show", missing),
        (noun, "replay", missing, *WHY),
        (noun, "discard", missing, *WHY),
    ):
        result = surehook(*arguments)
        assert result.exit_code == 3
        assert missing in result.stderr


def test_replaying_a_dead_event(surehook: CommandLine, names: Names) -> None:
    result = surehook("events", "replay", names.dead, names.dead, *WHY)
    assert (result.exit_code, result.stdout) == (0, f"{names.dead}  will run again (was DEAD)\n")
    assert surehook.json("events", "show", names.dead)["state"] == "RECEIVED"
    [entry] = surehook.json("audit", "list")
    assert (entry["actor"], entry["reason"], entry["subject"]) == ("ada", "mended the handler", names.dead)
    assert "mended the handler" in surehook("audit", "list").stdout


@pytest.mark.parametrize(("was", "told"), [("RETRYING", "is due now"), ("DEAD", "will run again")])
def test_what_retries_is_told_to_be_due(
    capsys: pytest.CaptureFixture[str], names: Names, was: str, told: str
) -> None:
    async def run(database: OpenedDatabase, ids: Sequence[bytes], action: Action) -> list[ActionResult]:
        return [ActionResult(id, True, was) for id in ids]

    verb = Verb(EVENT_PREFIX, "will run again", "", run)
    context = click.Context(click.Command("replay"))
    with pytest.raises(click.exceptions.Exit):
        perform(context, Options(), Order(verb, [bytes(16)], "ada", "mended it", as_json=False))
    assert capsys.readouterr().out == f"{MISSING_EVENT}  {told} (was {was})\n"


@pytest.mark.parametrize(
    ("ids", "code", "done"),
    [
        (["dead", MISSING_EVENT], 4, [True, False]),
        (["dead", "received"], 4, [True, False]),
        (["received"], 1, [False]),
        (["received", MISSING_EVENT], 1, [False, False]),
        (["dead", "processed"], 0, [True, True]),
    ],
)
def test_replay_tells_what_became_of_each(
    surehook: CommandLine, names: Names, ids: Sequence[str], code: int, done: list[bool]
) -> None:
    chosen = [getattr(names, each, each) for each in ids]
    result = surehook("events", "replay", *chosen, *WHY, "--json")
    answers: list[dict[str, Any]] = msgspec.json.decode(result.stdout)
    assert result.exit_code == code
    assert [answer["id"] for answer in answers] == chosen
    assert [answer["done"] for answer in answers] == done


def test_discarding(surehook: CommandLine, names: Names) -> None:
    result = surehook("events", "discard", names.dead, names.processed, *WHY)
    assert result.exit_code == 4
    assert f"{names.dead}  discarded (was DEAD)" in result.stdout
    assert f"{names.processed}  left alone: is PROCESSED: only DEAD events can be discarded" in result.stderr
    assert surehook("messages", "discard", names.lost, *WHY).exit_code == 0
    assert surehook.json("messages", "show", names.lost)["state"] == "DISCARDED"


def test_replaying_messages(surehook: CommandLine, names: Names) -> None:
    result = surehook("messages", "replay", names.sent, names.pending, *WHY)
    assert result.exit_code == 4
    assert f"{names.sent}  will be sent again (was SENT)" in result.stdout
    assert surehook.json("messages", "show", names.sent)["state"] == "PENDING"


def test_many_ids_are_replayed_in_batches(surehook: CommandLine, with_database: Fill) -> None:
    async def fill(database: SqliteDatabase) -> list[str]:
        now = Millis(await database.reader.database_time())
        given = [arrival(f"n{n}", f"{n}".encode(), dead=Reason.UNPARSABLE, now=now) for n in range(250)]
        return [typeid(EVENT_PREFIX, one.id) for [one] in await database.storage.accept(given)]

    ids = with_database(fill)
    result = surehook("events", "replay", *ids, *WHY, "--json")
    assert result.exit_code == 0
    assert [one["id"] for one in msgspec.json.decode(result.stdout)] == ids
    assert len(surehook.json("audit", "list", "--limit", "1000")) == 250


@pytest.mark.usefixtures("names")
def test_rejections_for_programs(surehook: CommandLine) -> None:
    [row] = surehook.json("rejections", "list")
    assert (row["reason"], row["detail"], row["body_sha256"]) == ("BAD_SIGNATURE", HOSTILE, "01" * 32)


def test_the_schema_is_migrated_and_shown(surehook: CommandLine) -> None:
    first = surehook("migrate", "up")
    assert first.exit_code == 0
    assert first.stdout.startswith("applied 0001_")
    assert surehook("migrate", "up").stdout == "The schema is up to date.\n"
    assert surehook.json("migrate", "up") == []
    assert all(one["applied_at"].endswith("Z") for one in surehook.json("migrate", "status"))
    assert "initial" in surehook("migrate", "status").stdout
    assert "No events." in surehook("events", "list").stdout
