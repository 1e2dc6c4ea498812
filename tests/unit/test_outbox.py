"""What handlers publish, and what forward rules do."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from surehook.clock import ManualClock
from surehook.config import ForwardRule
from surehook.errors import InvalidRequest
from surehook.outbox import MAX_BODY, MAX_MESSAGES, Outbox
from tests.builders import TRACE, claim


@pytest.fixture
def outbox(clock: ManualClock) -> Outbox:
    return Outbox(("ledger", "mail"), clock)


class Line(msgspec.Struct):
    price: float


@dataclasses.dataclass
class Order:
    lines: list[Line]


def test_a_message_has_its_body_in_final_form(outbox: Outbox) -> None:
    message = outbox.message(
        "ledger",
        type="payment.recorded",
        data={"b": 1, "a": "ä"},
        subject="in_1",
        key="in",
        traceparent=TRACE,
    )
    expected = '{"type":"payment.recorded","timestamp":"2026-09-21T14:13:20.000Z","data":{"a":"ä","b":1}}'
    assert message.body.decode() == expected
    assert (message.destination, message.type, message.subject) == ("ledger", "payment.recorded", "in_1")
    assert (message.order_key, message.traceparent) == ("in", TRACE)
    assert message.id[6] >> 4 == 7
    assert len(message.id) == 16


def test_each_message_has_an_id_of_its_own_and_equal_data_equal_bytes(outbox: Outbox) -> None:
    first = outbox.message("ledger", type="t", data={"x": 1, "y": 2})
    second = outbox.message("ledger", type="t", data={"y": 2, "x": 1})
    assert first.id != second.id
    assert first.body == second.body


@pytest.mark.parametrize(
    "data",
    [
        None,
        [1, 2.5, "x", None, True],
        {"at": datetime(2026, 1, 1, tzinfo=UTC), "sum": Decimal("1.10")},
        Order([Line(1.5)]),
        2**70,
        {"nothing": None},
    ],
)
def test_what_json_can_hold_is_published(outbox: Outbox, data: Any) -> None:
    body = outbox.message("ledger", type="t", data=data).body
    assert set(json.loads(body)) == {"type", "timestamp", "data"}


def looped() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"price": float("nan")}, r"data\['price'\] .*JSON has no nan"),
        (
            {"lines": [{"price": 1}, {"price": float("-inf")}]},
            r"data\['lines'\]\[1\]\['price'\] .*JSON has no -inf",
        ),
        (Order([Line(1.0), Line(float("inf"))]), r"data\.lines\[1\]\.price .*JSON has no inf"),
        (float("nan"), r"data .*JSON has no nan"),
        ({"file": object()}, r"data\['file'\] .*object is unsupported"),
        ({"name": "\ud800"}, r"data\['name'\] .*surrogates"),
        ({"\ud800": 1}, r"data .*surrogates"),
        ({"rates": {1: 2}}, r"data\['rates'\] .*key 1 is no text"),
        (looped(), r"data\[0\]\[0\].* contains itself"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_the_name_of_the_field(
    outbox: Outbox, data: Any, expected: str
) -> None:
    with pytest.raises(InvalidRequest, match=expected):
        outbox.message("ledger", type="t", data=data)


def test_an_unknown_destination_is_refused_with_the_nearest_name(outbox: Outbox) -> None:
    with pytest.raises(InvalidRequest, match=r"\[destinations.legder\].*Did you mean 'ledger'\?"):
        outbox.message("legder", type="t", data={})


@pytest.mark.parametrize("type", ["", "  ", "a" * 257, None, 3, "two\nlines", "nul\0"])
def test_a_type_must_be_text(outbox: Outbox, type: Any) -> None:
    with pytest.raises(InvalidRequest, match="type="):
        outbox.message("ledger", type=type, data={})


@pytest.mark.parametrize("field", ["subject", "key"])
@pytest.mark.parametrize("value", ["", 3, "x" * 257])
def test_subject_and_key_must_be_text_when_given(outbox: Outbox, field: str, value: Any) -> None:
    names: dict[str, Any] = {field: value}
    with pytest.raises(InvalidRequest, match=f"{field}="):
        outbox.message("ledger", type="t", data={}, **names)


def test_a_body_has_a_largest_size(outbox: Outbox) -> None:
    overhead = len(outbox.message("ledger", type="t", data="").body)
    assert len(outbox.message("ledger", type="t", data="x" * (MAX_BODY - overhead)).body) == MAX_BODY
    with pytest.raises(InvalidRequest, match=f"{MAX_BODY + 1} bytes"):
        outbox.message("ledger", type="t", data="x" * (MAX_BODY - overhead + 1))


def test_a_buffer_collects_in_order_and_passes_the_trace_on(outbox: Outbox) -> None:
    buffer = outbox.collect(TRACE)
    assert not buffer.messages
    first = buffer.publish("ledger", type="a", data=1)
    buffer.publish("mail", type="b", data=2, subject="s", key="k")
    assert [message.type for message in buffer.messages] == ["a", "b"]
    assert buffer.messages[0].id == first
    assert {message.traceparent for message in buffer.messages} == {TRACE}


def test_a_message_that_is_refused_is_not_collected(outbox: Outbox) -> None:
    buffer = outbox.collect()
    with pytest.raises(InvalidRequest):
        buffer.publish("nowhere", type="a", data=1)
    assert not buffer.messages


def test_an_attempt_publishes_so_many_messages_at_most(outbox: Outbox) -> None:
    buffer = outbox.collect()
    for number in range(MAX_MESSAGES):
        buffer.publish("ledger", type="t", data=number)
    with pytest.raises(InvalidRequest, match="1000 messages at most"):
        buffer.publish("ledger", type="t", data=0)
    assert len(buffer.messages) == MAX_MESSAGES


@pytest.mark.parametrize(
    ("rule", "forwards"),
    [
        (ForwardRule(to=("ledger",)), True),
        (ForwardRule(to=("ledger",), provider="stripe", topic="billing", type="invoice.*"), True),
        (ForwardRule(to=("ledger",), type="invoice.paid"), True),
        (ForwardRule(to=("ledger",), provider="github"), False),
        (ForwardRule(to=("ledger",), topic="orders"), False),
        (ForwardRule(to=("ledger",), type="customer.*"), False),
        (ForwardRule(to=("ledger",), provider="stripe", type="charge.paid"), False),
    ],
)
def test_a_rule_forwards_the_events_it_is_about(outbox: Outbox, rule: ForwardRule, forwards: bool) -> None:
    assert len(outbox.forwarded([rule], claim(), {})) == forwards


def test_a_forwarded_message_carries_the_event(outbox: Outbox) -> None:
    rule = ForwardRule(to=("ledger", "mail"))
    first, second = outbox.forwarded([rule], claim(), {"id": "evt_1", "x": None})
    assert json.loads(first.body) == {
        "type": "invoice.paid",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "data": {"id": "evt_1", "x": None},
    }
    assert (first.destination, second.destination) == ("ledger", "mail")
    assert (first.type, first.subject, first.traceparent) == ("invoice.paid", "in_1", TRACE)
    assert first.body == second.body
    assert first.id != second.id


def test_an_event_without_a_time_is_forwarded_with_the_time_of_its_arrival(outbox: Outbox) -> None:
    [message] = outbox.forwarded([ForwardRule(to=("ledger",))], claim(occurred_at=None), 1)
    assert json.loads(message.body)["timestamp"] == "2023-11-14T22:13:21.000Z"


def test_several_rules_make_one_message_for_each_destination(outbox: Outbox) -> None:
    rules = [ForwardRule(to=("ledger",)), ForwardRule(to=("mail", "ledger"), type="invoice.*")]
    messages = outbox.forwarded(rules, claim(), {})
    assert [message.destination for message in messages] == ["ledger", "mail"]


def test_a_large_event_is_forwarded_although_no_handler_could_publish_it(outbox: Outbox) -> None:
    [message] = outbox.forwarded([ForwardRule(to=("ledger",))], claim(), "x" * MAX_BODY)
    assert len(message.body) > MAX_BODY


def test_a_rule_to_an_unknown_destination_is_an_error(outbox: Outbox) -> None:
    with pytest.raises(InvalidRequest, match="no destination 'leger'"):
        outbox.forwarded([ForwardRule(to=("leger",))], claim(), {})
