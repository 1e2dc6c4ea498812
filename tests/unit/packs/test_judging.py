"""Files of requests with known verdicts: every published row agrees, and a row that is changed does not."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.packs.support import NOW

from surehook.config import ProviderSettings
from surehook.errors import InvalidRequest
from surehook.packs import Found, KeySource
from surehook.packs.vectors import Row, configure, judge, provider_of, read_rows, request_of

DATA = Path(__file__).parents[2] / "data" / "signatures"


def published() -> Iterator[Row]:
    for path in sorted(DATA.glob("*.jsonl")):
        with path.open("rb") as file:
            yield from read_rows(file)


@pytest.mark.parametrize("row", list(published()), ids=lambda row: row.name)
def test_what_is_published_is_judged_as_expected(row: Row) -> None:
    if row.request is not None and (DATA / f"{row.pack}.jsonl").exists():
        with (DATA / f"{row.pack}.jsonl").open("rb") as file:  # its sender publishes the same keys
            row = replace(row, aux=read_rows(file)[0].aux)
    judged = judge(row, NOW)
    assert judged.agrees, judged


def line(name: str, **wanted: Any) -> dict[str, Any]:
    """The first row of a file that has these values."""
    texts = (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return next(row for row in map(json.loads, texts) if wanted.items() <= row.items())


def read(row: dict[str, Any]) -> Row:
    [found] = read_rows([json.dumps(row).encode()])
    return found


@pytest.mark.parametrize(
    ("changes", "expected", "got", "detail"),
    [
        ({"expect": "reject"}, "reject", "accept", ""),
        ({"secret": "whsec_other"}, "accept", "reject", "no live secret made a signature"),
        ({"now": 2}, "accept", "reject", "the timestamp is more than 300 s away"),
        ({"provider": "strype"}, "accept", "error", "there is no pack 'strype'"),
        ({"secret": "sk_live_1"}, "accept", "error", "is a Stripe API key"),
        ({"method": "PUT"}, "accept", "reject", "PUT is answered 405: stripe takes POST"),
        ({"expect": None}, "accept or reject (the row does not say)", "accept", ""),
    ],
)
def test_what_differs_is_told(changes: dict[str, Any], expected: str, got: str, detail: str) -> None:
    judged = judge(read(line("stripe", expect="accept") | changes), NOW)
    assert (judged.agrees, judged.expected, judged.got) == (False, expected, got)
    assert detail in judged.detail


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"external_id": "evt_other"}, "external_id"),
        ({"type": "other"}, "type"),
        ({"subject": "other"}, "subject"),
        ({"occurred_at_unix": 3}, "occurred_at"),
        ({"item_ids": ["a", "b"]}, "item_ids"),
        ({"item_types": ["a"]}, "item_types"),
    ],
)
def test_an_event_that_is_read_otherwise_is_a_disagreement(wanted: dict[str, Any], told: str) -> None:
    judged = judge(read(line("stripe", expect="accept") | {"expected_event": wanted}), NOW)
    assert not judged.agrees
    assert judged.expected.startswith(f"accept, {told} ")
    assert judged.got.startswith(f"accept, {told} ")


def test_another_id_of_the_same_event_will_do() -> None:
    row = line("stripe", expect="accept")
    right = row["expected_event"]["external_id"] if row.get("expected_event") else None
    body = json.loads(base64.b64decode(row["body_base64"]))
    wanted = {"external_id": "delivery-1", "external_id_alt": right or body["id"]}
    assert judge(read(row | {"expected_event": wanted}), NOW).agrees


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"status": 204}, "status 204"),
        ({"body": "other", "json_alt": None}, '200, body "other"'),
        ({"json": {"challenge": "other"}, "body": None, "json_alt": None}, '200, body {"challenge":"other"}'),
        ({"content_type": "text/html"}, '200, content-type "text/html"'),
        ({"headers": {"X-Sign": "1"}}, '200, X-Sign "1"'),
        ({"stores_secret": "s"}, '200, secret "s"'),
    ],
)
def test_a_handshake_is_held_to_its_answer(changes: dict[str, Any], told: str) -> None:
    row = line("challenges", provider="slack")
    assert judge(read(row), NOW).agrees
    judged = judge(read(row | {"expected_response": row["expected_response"] | changes}), NOW)
    assert (judged.agrees, judged.expected) == (False, told)


def test_a_handshake_that_must_be_refused() -> None:
    row = line("challenges", provider="slack") | {"secret": "other", "expected_response": {"status": 401}}
    assert judge(read(row), NOW).agrees


def test_moment_tolerance_and_address_are_those_of_the_row() -> None:
    row = read(
        line("stripe", expect="accept") | {"tolerance": 7, "url": "https://a.example/x?y=1", "now": 1.5}
    )
    assert configure(row).settings == ProviderSettings(pack="stripe", secrets=("env:VECTOR",), tolerance=7)
    assert request_of(row, NOW).now == 1500
    nowhere = read(
        {
            "provider": "stripe",
            "secret": "whsec_x",
            "request": {"method": "POST", "headers": {}, "body_base64": ""},
        }
    )
    assert request_of(nowhere, NOW).now == NOW


async def test_what_a_pack_would_fetch_is_found_by_its_address() -> None:
    row = read(line("stripe", expect="accept") | {"aux": {"certs": {"https://a.example/c.pem": "PEM"}}})
    fetch = configure(row).fetch
    found = await fetch(KeySource("https://a.example/c.pem", Found))
    assert found.body == b"PEM"
    with pytest.raises(LookupError, match=r"nothing at https://a\.example/d\.pem"):
        await fetch(KeySource("https://a.example/d.pem", Found))


def test_names_of_senders_become_names_of_packs() -> None:
    names = ["standard_webhooks_ed25519", "gitlab_signed", "shopify_events"]
    rows = [Row(provider=name, secret="x") for name in names]
    assert [row.pack for row in rows] == ["standard-webhooks", "gitlab", "shopify-events"]
    assert provider_of(Row(provider="none", secret="")).pack == "none"


@pytest.mark.parametrize("bad", [b"{", b"[]", b'{"provider": "x"}', b'{"provider": "x", "secret": "\xff"}'])
def test_a_line_that_is_no_row_is_named(bad: bytes) -> None:
    with pytest.raises(InvalidRequest, match="line 3 is no vector: "):
        read_rows([b'{"provider": "stripe", "secret": "x"}\n', b"\n", bad])
