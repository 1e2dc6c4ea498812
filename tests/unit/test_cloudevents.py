"""CloudEvents as the official SDK reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given
from hypothesis import strategies as st

from surehook.clock import ManualClock
from surehook.cloudevents import CloudEvent
from surehook.handlers import Event
from surehook.outbox import Outbox
from tests.builders import TRACE, claim

MODES = ("structured", "binary")
#: What an attribute may hold: no controls, no surrogates, no noncharacters.
texts = st.text(
    st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=30
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def event(body: bytes, **changes: Any) -> Event:
    """An event as a handler gets it."""
    return Event(claim(**changes), body, Outbox((), ManualClock()).collect(None))


def read(sent: CloudEvent, mode: str) -> Any:
    """What the official SDK reads from the wire."""
    headers, body = sent.structured() if mode == "structured" else sent.binary()
    return from_http_event(HTTPMessage(headers, body))


@pytest.mark.parametrize("mode", MODES)
@given(id=texts, type=texts, subject=texts, data=values)
def test_the_sdk_reads_what_is_written(mode: str, id: str, type: str, subject: str, data: Any) -> None:
    body = json.dumps(data).encode()
    sent = CloudEvent(
        id, "/webhooks/acme", type, subject, "2026-09-21T14:13:20.000Z", "application/json", body
    )
    found = read(sent, mode)
    assert (found.get_id(), found.get_type(), found.get_subject()) == (id, type, subject)
    assert (found.get_source(), found.get_specversion()) == ("/webhooks/acme", "1.0")
    assert found.get_time().isoformat() == "2026-09-21T14:13:20+00:00"
    assert found.get_data() == data


@pytest.mark.parametrize("mode", MODES)
def test_an_event_says_what_it_is(mode: str) -> None:
    found = read(
        event(b'{"id":"evt_1","amount":12345678901234567890.10}', subject="in_1").to_cloudevent(), mode
    )
    assert (found.get_id(), found.get_source(), found.get_type()) == (
        "evt_1",
        "/webhooks/stripe",
        "invoice.paid",
    )
    assert found.get_time().timestamp() == 1_700_000_000
    assert found.get_subject() == "in_1"
    assert found.get_extension("traceparent") == TRACE
    assert found.get_extension("surehookid") == event(b"").id
    assert found.get_data()["id"] == "evt_1"


def test_json_stays_byte_exact() -> None:
    body = b'{"id":"evt_1","amount":12345678901234567890.10}'
    assert event(body).to_cloudevent().data == body
    assert body in event(body).to_cloudevent().structured()[1]


def test_an_event_among_several_is_its_part_alone() -> None:
    one = event(b'{"events":[{"n":1},{"n": 2.50}]}', part="/events/1")
    assert one.data == {"n": 2.5}
    assert one.to_cloudevent().data == b'{"n": 2.50}'
    assert event(b"[1]", part="/7").to_cloudevent().data == b"null"
    with pytest.raises(ValueError, match="nothing at /7"):
        _ = event(b"[1]", part="/7").data


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("body", [b"a=1&b=%C3%A9", b"\xff\x00binary", b""])
def test_what_is_no_json_stays_what_it_is(mode: str, body: bytes) -> None:
    sent = event(body, content_type="application/x-www-form-urlencoded").to_cloudevent()
    assert sent.datacontenttype == "application/x-www-form-urlencoded"
    found = read(sent, mode)
    data = found.get_data()
    assert (data.encode() if isinstance(data, str) else data or b"") == body


def test_an_event_that_does_not_say_when_it_happened_came_then() -> None:
    assert event(b"{}", occurred_at=None).to_cloudevent().time == "2023-11-14T22:13:21.000Z"
