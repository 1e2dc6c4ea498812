"""Refused requests judged again, and stored ones read again, by the providers of today."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.builders import arrival
from tests.unit.packs.support import delivery, example, posted

from surehook.clock import Millis
from surehook.config import ProviderSettings, RejectionSettings, ServerSettings
from surehook.errors import ConfigurationError
from surehook.ids import EventId, RejectionId, uuid7
from surehook.ingest.readmission import Providers, judge_again, read_again
from surehook.ingest.rejections import MOST_AS_IT_CAME, RejectionLog, reduced
from surehook.model import Arrival, EventRow, Readmission, Rejection, RejectionRow, Rereading, RowFilter
from surehook.packs import PACKS, Provider, Received, build_provider
from surehook.secrets import Secret
from surehook.states import EventState, Reason
from surehook.storage.sqlite import SqliteReader, SqliteStorage

NOW = Millis(1_790_000_000_000)
BODY = b'{"id": "evt_7", "type": "invoice.paid", "created": 1790000000}'


def provider(pack: str, secret: str, **settings: Any) -> Provider:
    chosen = ProviderSettings(pack=pack, secrets=("env:A",), **settings)
    return build_provider("acme", chosen, lambda name: Secret(secret, name), ServerSettings())


STRIPE = provider("stripe", "whsec_right")


def rejected(pack: str = "stripe", secret: str = "whsec_right", **changes: Any) -> Rejection:
    sent = PACKS[pack].sign(secret, changes.pop("sent", BODY), NOW, external_id="evt_7", type="invoice.paid")
    values: dict[str, Any] = {
        "provider": "acme",
        "topic": "billing",
        "reason": Reason.BAD_SIGNATURE,
        "detail": "no live secret made a signature",
        "headers": tuple((name.lower(), value) for name, value in sent.headers.items()),
        "body_sha256": bytes(32),
        "body_size": len(sent.body),
        "received_at": NOW,
        "body": sent.body,
    }
    return Rejection(**(values | changes))


def row(rejection: Rejection) -> RejectionRow:
    return RejectionRow(RejectionId(uuid7(NOW)), rejection, rejection.body is not None)


async def test_what_is_authentic_now_becomes_what_it_should_have_been() -> None:
    refused = row(rejected())
    found = await judge_again(refused, {"acme": STRIPE})
    assert isinstance(found, Readmission)
    assert found.id == refused.id
    payload, [event] = found.arrival.payload, found.arrival.events
    assert (payload.body, payload.received_at, payload.topic, payload.secret) == (
        BODY,
        NOW,
        "billing",
        "env:A",
    )
    assert (event.external_id, event.type, event.dead) == ("evt_7", "invoice.paid", None)
    assert found.arrival.id_is_signed


async def test_the_id_of_an_unsigned_sender_stays_suspect() -> None:
    found = await judge_again(row(rejected("github", "s")), {"acme": provider("github", "s")})
    assert isinstance(found, Readmission)
    assert not found.arrival.id_is_signed


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"body": None}, "rejections.keep_bodies"),
        ({"reason": Reason.ID_REUSED}, "another body was stored under that before"),
        ({"provider": "gone"}, "no provider 'gone' is configured"),
        ({"provider": "broken"}, "its secret is missing"),
        ({"body": BODY + b" "}, "no live secret made a signature"),
        ({"received_at": Millis(NOW + 301_000)}, "the timestamp is more than 300 s away"),
        ({"method": "PUT"}, "PUT is answered 405"),
        ({"provider": "off"}, "the provider is disabled"),
    ],
)
async def test_what_is_refused_still_says_why(changes: dict[str, Any], why: str) -> None:
    off = provider("stripe", "whsec_right", enabled=False)
    broken = ConfigurationError("its secret is missing")
    providers: Providers = {"acme": STRIPE, "broken": broken, "off": off}
    found = await judge_again(row(rejected(**changes)), providers)
    assert isinstance(found, str)
    assert why in found


async def test_a_handshake_is_no_event() -> None:
    greeting = b'{"type": "url_verification", "challenge": "c"}'
    found = await judge_again(row(rejected("slack", "s", sent=greeting)), {"acme": provider("slack", "s")})
    assert found == "it is authentic, but holds no event: url_verification"


# what is kept


def test_secrets_of_other_kinds_are_not_kept_and_proofs_are() -> None:
    given = tuple(
        (name, "x") for name in ("authorization", "cookie", "proxy-authorization", "x-token", "x-a")
    )
    kept = [name for name, _ in STRIPE.provable(given)]
    assert kept == ["x-token", "x-a"]
    assert [name for name, _ in provider("basic", "u:p").provable(given)] == [
        "authorization",
        "x-token",
        "x-a",
    ]
    bearer = provider("token", "t", header="Authorization", prefix="Bearer ")
    assert [name for name, _ in bearer.provable(given)] == ["authorization", "x-token", "x-a"]
    assert [name for name, _ in provider("token", "t", header="X-Token").provable(given)] == [
        "x-token",
        "x-a",
    ]


@pytest.mark.parametrize("pack", sorted(PACKS))
def test_what_is_kept_is_enough_to_judge_it_again(pack: str) -> None:
    """A pack whose proof stands in one of SECRET_HEADERS must say so in ``proof_headers``."""
    judging, asked = example(pack), posted(delivery(pack, PACKS[pack].sample()))
    assert isinstance(judging.receive(replace(asked, headers=judging.provable(asked.headers))), Received)


async def test_the_proof_is_not_stored_with_what_is_let_in() -> None:
    judging = provider("basic", "user:password")
    found = await judge_again(row(rejected("basic", "user:password")), {"acme": judging})
    assert isinstance(found, Readmission)
    assert "authorization" not in dict(found.arrival.payload.headers)


def test_only_small_requests_are_kept_as_they_came_and_only_where_it_is_wanted() -> None:
    headers = (("x-signature", "1"), ("host", "h"))
    size = sum(map(len, "x-signature1hosth"))
    fits = rejected(headers=headers, body=bytes(MOST_AS_IT_CAME - size), query="token=x")
    assert reduced(fits, as_it_came=True) is fits
    for found in (
        reduced(fits, as_it_came=False),
        reduced(
            rejected(headers=headers, body=bytes(MOST_AS_IT_CAME - size + 1), query="q"), as_it_came=True
        ),
    ):
        assert (found.headers, found.body, found.query) == ((("host", "h"),), None, "")
        assert found.body_size == fits.body_size


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_log_keeps_what_the_settings_want(
    storage: SqliteStorage, reader: SqliteReader, wanted: bool
) -> None:
    from_log = RejectionLog(storage, RejectionSettings(keep_bodies=wanted))
    from_log.start()
    from_log.note(rejected())
    await from_log.close()
    [found] = await reader.rejections(RowFilter())
    assert found.kept is wanted
    whole = await reader.rejection(found.id)
    assert whole is not None
    assert ("stripe-signature" in dict(whole.rejection.headers)) is wanted
    assert (whole.rejection.body == BODY) is wanted


# read again


def stored(**changes: Any) -> tuple[EventRow, Arrival]:
    found = arrival("hash", changes.pop("body", BODY), provider="acme", **changes)
    event = EventRow(
        id=EventId(uuid7(NOW)), provider="acme", topic="billing", external_id="hash", weak=True, type="acme",
        subject=None, item=0, payload_id=found.payload.id, state=EventState.DEAD, reason=Reason.UNPARSABLE,
        attempts=0, lost_leases=0, duplicates=0, replays=0, occurred_at=None, received_at=NOW, due_at=None,
        lease_until=None, updated_at=NOW, finished_at=NOW, last_error="?", traceparent="00-trace",
    )  # fmt: skip
    return event, found


def test_a_stored_request_needs_no_proof_to_be_read_again() -> None:
    event, found = stored()
    again = read_again(event, found.payload, {"acme": STRIPE})
    assert isinstance(again, Rereading)
    assert (again.id, again.arrival.traceparent) == (event.id, "00-trace")
    [read] = again.arrival.events
    assert (read.external_id, read.type, read.occurred_at) == ("evt_7", "invoice.paid", NOW)


def test_what_came_as_a_form_is_read_as_one() -> None:
    event, found = stored(body=b"command=%2Fdeploy")
    form = "application/x-www-form-urlencoded"
    payload = replace(
        found.payload, content_type=form, headers=(("content-type", "text/plain"), ("x-a", "b"))
    )
    again = read_again(event, payload, {"acme": provider("slack", "s")})
    assert isinstance(again, Rereading)
    assert again.arrival.events[0].type == "/deploy"


def test_what_cannot_be_read_again_says_why() -> None:
    event, found = stored(body=b'{"type": "url_verification", "challenge": "c"}')
    slack = provider("slack", "s")
    assert read_again(event, None, {"acme": slack}) == "its request is no longer kept"
    assert read_again(event, found.payload, {}) == "no provider 'acme' is configured"
    assert read_again(event, found.payload, {"acme": slack}) == "it is read as url_verification now"
