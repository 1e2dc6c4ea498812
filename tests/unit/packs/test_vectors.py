"""Every published vector gets the verdict, and gives the event, that its row demands."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.packs.support import example_settings, headers, other_secret_of, provider

from surehook.clock import Millis
from surehook.packs import (
    PACKS,
    Challenge,
    Provider,
    Received,
    Refused,
    Request,
)
from surehook.packs.vectors import provider_of, published, read_rows, verdict_on
from surehook.states import Reason

DATA = Path(__file__).parents[2] / "data" / "signatures"
#: What has tests of its own instead of vectors, and where: nothing is fixed in it, or nothing is signed.
TESTED = {
    "hmac": "test_packs_configurable.py",
    "token": "test_packs_configurable.py",
    "basic": "test_packs_configurable.py",
    "none": "test_packs_configurable.py",
    "mollie-classic": "test_packs_odd_senders.py",
}
#: Authentic requests that hold no event: they are answered, and nothing is stored.
WITHOUT_EVENTS = {"valid_intent_to_receive", "valid_heartbeat_empty_events"}


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


VECTORS = [
    (path.stem, row) for path in sorted(DATA.glob("*.jsonl")) if path.stem in PACKS for row in rows(path.stem)
]


def as_request(pack: str, row: dict[str, Any]) -> Request:
    sent = row.get("request", row)
    body = base64.b64decode(sent["body_base64"])
    now = Millis(row.get("now", 1_790_000_000) * 1000)
    return Request(pack, "topic", sent["method"], headers(sent["headers"]), body, now, sent["query"])


def live(pack: str, row: dict[str, Any]) -> Provider:
    aux = row.get("aux") or {}
    wanted = {
        **example_settings(pack),
        "tolerance": row.get("tolerance"),
        "url": row.get("url"),
        "email": aux.get("expected_email"),
        "public_key": aux.get("public_key"),
    }
    known = {name: value for name, value in wanted.items() if value and name in PACKS[pack].settings}
    return provider(pack, row["secret"], fetch=published(aux, row.get("fetched", [])), **known)


@pytest.mark.parametrize(("pack", "row"), VECTORS, ids=[row["id"] for _, row in VECTORS])
def test_the_vector_gets_its_verdict(pack: str, row: dict[str, Any]) -> None:
    verdict = verdict_on(live(pack, row), as_request(pack, row))
    if row["expect"] == "reject":
        assert isinstance(verdict, Refused)
        # the secret of an example may be the word itself, which the message uses and which tells nothing
        assert row["secret"] == "secret" or row["secret"] not in verdict.detail
    elif row["case"] in WITHOUT_EVENTS:
        assert isinstance(verdict, Challenge)
        assert (verdict.status, verdict.body) == (200, b"")
    else:
        assert isinstance(verdict, Received)
        assert verdict.secret == "env:S0"


ACCEPTED = [(pack, row) for pack, row in VECTORS if row["expect"] == "accept" and row.get("expected_event")]


@pytest.mark.parametrize(("pack", "row"), ACCEPTED, ids=[row["id"] for _, row in ACCEPTED])
def test_the_vector_gives_its_event(pack: str, row: dict[str, Any]) -> None:
    asked = as_request(pack, row)
    verdict = verdict_on(live(pack, row), asked)
    wanted = row["expected_event"]
    if row["case"] in WITHOUT_EVENTS:
        assert not any(wanted.values()), "it holds an event"
        assert not isinstance(verdict, Received)
        return
    assert isinstance(verdict, Received)
    event = verdict.events[0]
    if "item_ids" in wanted:
        assert [each.external_id for each in verdict.events] == wanted["item_ids"]
    elif wanted.get("external_id"):
        assert (event.external_id, event.weak) == (wanted["external_id"], False)
    elif PACKS[pack].bodies_repeat:
        assert event.weak
        assert event.external_id.startswith("delivery:")
    else:
        stored = asked.body if verdict.body is None else verdict.body
        digest = event.sha256 or hashlib.sha256(stored).digest()
        assert (event.external_id, event.weak) == (digest.hex(), True)
    if "item_types" in wanted:
        assert [each.type for each in verdict.events] == wanted["item_types"]
    else:
        assert event.type == (wanted.get("type") or event.type)
    assert event.subject == wanted.get("subject", event.subject)
    if "occurred_at_unix" in wanted:
        assert event.occurred_at == round(wanted["occurred_at_unix"] * 1000)
    assert event.dead is (Reason.UNPARSABLE if row["case"] == "doc_hello_world" else None)


@pytest.mark.parametrize(
    ("pack", "row"), [v for v in VECTORS if v[1].get("probe")], ids=lambda value: str(value)[:20]
)
def test_a_body_that_cannot_be_read_is_stored_all_the_same(pack: str, row: dict[str, Any]) -> None:
    verdict = verdict_on(live(pack, row), as_request(pack, row))
    assert isinstance(verdict, Received)
    [event] = verdict.events
    assert event.dead is Reason.UNPARSABLE
    assert event.error


@pytest.mark.parametrize("pack", sorted(PACKS))
def test_every_pack_is_proven_documented_and_has_a_sample(pack: str) -> None:
    known = PACKS[pack]
    if pack in TESTED:
        tests = (Path(__file__).parent / TESTED[pack]).read_text(encoding="utf-8")
        assert tests.count(f'provider("{pack}"') >= 3, f"pack {pack} has no tests of its own"
    else:
        verdicts = {row["expect"] for row in rows(pack)}
        assert verdicts == {"accept", "reject"}, f"pack {pack} has no vectors of both kinds"
    assert known.docs_url.startswith("https://")
    assert known.summary
    assert len(known.sample()) > 20


def test_no_vector_file_is_left_out() -> None:
    assert {path.stem for path in DATA.glob("*.jsonl")} == set(PACKS) - set(TESTED) | {"challenges"}
    assert len(VECTORS) > 140


def aux_of(pack: str, row: dict[str, Any]) -> dict[str, Any]:
    """What the sender publishes, as its other rows have it; a row's note may say more."""
    noted = dict(re.findall(r"aux\.(\w+)=(\S+)", row.get("note", "")))
    return {**(rows(pack)[0].get("aux") or {}), **noted}


@pytest.mark.parametrize("row", rows("challenges"), ids=lambda row: f"{row['provider']}-{row['case']}")
def test_a_challenge_is_answered_but_only_a_signed_one(row: dict[str, Any]) -> None:
    pack = row["provider"].replace("_", "-")
    fetched: list[str] = []
    asked, one = as_request(pack, row), live(pack, {**row, "fetched": fetched, "aux": aux_of(pack, row)})
    if PACKS[pack].learns_secret:
        one = provider_of(read_rows([json.dumps(row).encode()])[0])
    verdict = verdict_on(one, asked)
    wanted = row["expected_response"]
    if wanted["status"] == 401:
        assert isinstance(verdict, Refused)
        assert one.refuses_bare or wanted.get("body") != ""
        return
    if "then" in wanted:  # the answer is the usual one, after something was fetched
        assert isinstance(verdict, Received)
        assert one.response[0] == wanted["status"]
        assert fetched[-1] == wanted["then"]["GET"]
        assert isinstance(verdict_on(provider(pack, other_secret_of(pack)), asked), Refused)
        return
    assert isinstance(verdict, Challenge)
    assert_answers(verdict, wanted)
    stranger = live(pack, {**row, "secret": other_secret_of(pack), "aux": aux_of(pack, row)}).receive(asked)
    if pack == "braintree":  # what is proved is who answers
        assert stranger != verdict
    elif PACKS[pack].learns_secret:  # one whose secret is known expects no other
        assert verdict.secret is not None
        assert isinstance(stranger, Refused)
    elif row["secret"]:
        assert isinstance(stranger, Refused) or stranger == Challenge(403, kind=verdict.kind)
    else:  # nothing proves who asks, so the secret must not matter
        assert stranger == verdict


def assert_answers(verdict: Challenge, wanted: dict[str, Any]) -> None:
    """The answer is the one that the sender waits for."""
    assert verdict.status == wanted["status"]
    if "json" in wanted:
        assert json.loads(verdict.body) == wanted["json"]
    elif "body" in wanted:
        assert verdict.body.decode() == wanted["body"]
    assert verdict.content_type.startswith(wanted.get("content_type", ""))
    sent = {name.lower(): value for name, value in verdict.headers}
    assert sent.items() >= {name.lower(): value for name, value in wanted.get("headers", {}).items()}.items()
