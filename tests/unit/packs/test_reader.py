"""The reader of declared places, beside a plain parser that does the same slowly."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.packs.support import request

from surehook.packs import Joined, JsonReader, Reading, Reads
from surehook.packs.reader import MOST_ITEMS
from surehook.packs.reading import FAULTS
from surehook.pointers import resolve_pointer

READS = Reads(
    id="body:/a/id",
    type=Joined(("body:/kind", "header:x-kind", "body:/a/b/kind")),
    subject=("body:/a/b/c/d", "body:/a/b", "body:/x~1y/~0z"),
    occurred_at="header:x-at",
)
keys = st.sampled_from(["a", "b", "c", "d", "id", "kind", "x/y", "~z", "other"])
leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=25,
)


def text_at(document: Any, *path: str) -> str | None:
    """What stands at a path, if it is a text or a number."""
    for token in path:
        if not isinstance(document, dict) or token not in document:
            return None
        document = document[token]
    if isinstance(document, bool) or not isinstance(document, str | int):
        return None
    return str(document) or None


def read(body: bytes, **headers: str) -> Reading:
    into = Reading()
    assert JsonReader(READS).read(request(body, headers), into) is None
    return into


@given(document=st.dictionaries(keys, documents, max_size=6), header=st.text("ab", max_size=2))
def test_places_are_found_in_any_document(document: dict[str, Any], header: str) -> None:
    found = read(json.dumps(document).encode(), **({"x-kind": header} if header else {}))
    kinds = [text_at(document, "kind"), header, text_at(document, "a", "b", "kind")]
    subjects = [
        text_at(document, "a", "b", "c", "d"),
        text_at(document, "a", "b"),
        text_at(document, "x/y", "~z"),
    ]
    assert found.id == text_at(document, "a", "id")
    assert found.type == (".".join(kind for kind in kinds if kind) or None)
    assert found.subject == next((subject for subject in subjects if subject), None)


@pytest.mark.parametrize(
    "body",
    [b'{"a":{"id":"1","id":"2"}}', b'{"a":{"id":"1"},"a":{}}', b'{"a":{"id":"1"},"\\u0061":{"id":"2"}}'],
)
def test_a_repeated_key_on_the_way_to_the_id_is_ambiguous(body: bytes) -> None:
    with pytest.raises(ValueError, match="more than once"):
        read(body)


def test_a_repeated_key_elsewhere_is_not() -> None:
    assert read(b'{"a":{"id":"1","x":1,"x":2},"kind":"k","kind":"k"}').id == "1"


def test_what_stands_in_headers_stays_when_the_body_cannot_be_read() -> None:
    into = Reading()
    with pytest.raises(FAULTS):
        JsonReader(READS).read(request(b"{", {"x-at": "7", "x-kind": "k"}), into)
    assert (into.occurred_at, into.type) == ("7", "k")


def test_a_body_in_which_nothing_is_looked_for_must_be_json_only_if_it_says_so() -> None:
    reader = JsonReader(Reads(id="header:x-id"))
    assert reader.read(request(b"<xml/>", {"content-type": "text/xml"}), Reading()) is None
    with pytest.raises(FAULTS):
        reader.read(request(b"<xml/>", {"content-type": "application/json"}), Reading())


# several events

ITEM = Reads(id="body:/id", type=("body:/type", "header:x-type"), occurred_at="body:/at")
ids = st.none() | st.integers(0, 9) | st.text("ab", max_size=3)
items = st.lists(st.fixed_dictionaries({}, optional={"id": ids, "type": st.text("tu", max_size=2)}) | leaves)


@pytest.mark.parametrize("at", ["", "/events", "/data/events"])
@given(items=items)
def test_every_element_is_an_event_that_can_be_found_again(at: str, items: list[Any]) -> None:
    document: Any = items
    for token in reversed(at.split("/")[1:]):
        document = {token: document, "type": "around"}
    body = json.dumps(document).encode()
    around = Reads(type="body:/type") if at else Reads()
    found = JsonReader(around, at, ITEM).read(request(body), Reading())
    assert isinstance(found, list)
    assert [resolve_pointer(json.loads(body), each.part or "") for each in found] == items
    assert [json.loads(each.raw or b"") for each in found] == items
    assert [each.id for each in found] == [text_at(item, "id") for item in items]
    outer = "around" if at else None
    assert [each.type for each in found] == [text_at(item, "type") or outer for item in items]


def test_a_body_without_the_list_is_one_event() -> None:
    into = Reading()
    assert JsonReader(Reads(id="body:/id"), "/events", ITEM).read(request(b'{"id":"x"}'), into) is None
    assert into.id == "x"


def test_too_many_events_are_none() -> None:
    reader = JsonReader(Reads(), "", ITEM)
    most = reader.read(request(b"[" + b",".join([b"1"] * MOST_ITEMS) + b"]"), Reading())
    assert isinstance(most, list)
    assert len(most) == MOST_ITEMS
    with pytest.raises(ValueError, match="10000 are the most"):
        reader.read(request(b"[" + b",".join([b"1"] * (MOST_ITEMS + 1)) + b"]"), Reading())


def test_an_ambiguous_id_is_a_fault_of_its_event_alone() -> None:
    found = JsonReader(Reads(), "", ITEM).read(request(b'[{"id":1},{"id":1,"id":2},{"id":3}]'), Reading())
    assert isinstance(found, list)
    assert [(each.id, each.fault is None) for each in found] == [("1", True), (None, False), ("3", True)]


def test_a_list_that_is_no_json_is_a_fault_of_the_request() -> None:
    with pytest.raises(msgspec.DecodeError):
        JsonReader(Reads(), "", ITEM).read(request(b'[{"id":1},'), Reading())
