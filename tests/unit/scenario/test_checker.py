"""The checker finds nothing in a good history, and each way of spoiling it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from tests.scenario.checker import Expected, Rule, Violation, check
from tests.scenario.history import Delivery, History, Request, StoredEvent, StoredMessage

Mutation = Callable[[History], History]

EXPECTED = {"order.paid": Expected(), "order.seen": Expected(effects=0, messages=1)}

GOOD = History(
    requests=[
        Request("acme", "o-1", "b1", 200, "evt_1", False),
        Request("acme", "o-1", "b1", 200, "evt_1", True),
        Request("acme", "o-2", "b2", None),
        Request("acme", "o-2", "b2", 503),
        Request("acme", "o-2", "b2", 200, "evt_2", True),
        Request("acme", "o-3", "b3", None),
        Request("acme", "o-4", "b4", 401),
    ],
    events=[
        StoredEvent("evt_1", "acme", "o-1", "order.paid", "PROCESSED", 1, "b1", "b1"),
        StoredEvent("evt_2", "acme", "o-2", "order.seen", "PROCESSED", 2, "b2", "b2"),
        StoredEvent("evt_3", "acme", "o-3", "order.paid", "PROCESSED", 0, "b3", "b3"),
    ],
    effects=["evt_1", "evt_3"],
    messages=[
        StoredMessage("msg_1", "evt_1", "ledger", "SENT", "m1"),
        StoredMessage("msg_2", "evt_2", "ledger", "SENT", "m2"),
        StoredMessage("msg_3", "evt_3", "store", "SENT", "m3"),
    ],
    deliveries=[
        Delivery("ledger", "msg_1", "m1", True, 500, 1),
        Delivery("ledger", "msg_1", "m1", True, 200, 2),
        Delivery("ledger", "msg_2", "m2", True, None, 3),
        Delivery("ledger", "msg_2", "m2", True, 204, 4),
        Delivery("store", "msg_3", "m3", True, 200, 5),
        Delivery("store", "msg_3", "m3", True, 200, 6),
    ],
)


def dropped(field: str, index: int) -> Mutation:
    """One row or line is missing."""
    return _on(field, lambda rows: [*rows[:index], *rows[index + 1 :]])


def repeated(field: str, index: int, **changes: Any) -> Mutation:
    """One row or line is there again, perhaps changed."""
    return _on(field, lambda rows: [*rows, _changed(rows[index], changes)])


def changed(field: str, index: int, **changes: Any) -> Mutation:
    """One row or line says something else."""
    return _on(field, lambda rows: [*rows[:index], _changed(rows[index], changes), *rows[index + 1 :]])


def _on(field: str, edit: Callable[[Sequence[Any]], list[Any]]) -> Mutation:
    return lambda history: msgspec.structs.replace(history, **{field: edit(getattr(history, field))})


def _changed(row: Any, changes: dict[str, Any]) -> Any:
    return msgspec.structs.replace(row, **changes) if changes else row


MUTATIONS: list[tuple[Mutation, set[Rule]]] = [
    # What is lost.
    (dropped("events", 0), {Rule.LOST, Rule.ORPHAN_EFFECT, Rule.ORPHAN_MESSAGE}),
    (dropped("effects", 0), {Rule.EFFECTS}),
    (dropped("messages", 2), {Rule.MESSAGES, Rule.INVENTED}),
    (dropped("deliveries", 1), {Rule.UNDELIVERED}),
    (dropped("deliveries", 3), {Rule.UNDELIVERED}),
    # What is there twice.
    (repeated("events", 0), {Rule.STORED_TWICE}),
    (repeated("effects", 0), {Rule.EFFECTS}),
    (repeated("messages", 0), {Rule.MESSAGES, Rule.MESSAGE_TWICE}),
    (repeated("messages", 0, id="msg_9"), {Rule.MESSAGES, Rule.UNDELIVERED}),
    (repeated("requests", 0), {Rule.FIRST_TWICE}),
    # What nobody sent or wrote.
    (dropped("requests", 5), {Rule.PHANTOM}),
    (changed("requests", 5, status=401), {Rule.PHANTOM}),
    (repeated("deliveries", 0, id="msg_9"), {Rule.INVENTED}),
    (changed("messages", 0, event="evt_9"), {Rule.MESSAGES, Rule.ORPHAN_MESSAGE}),
    # What is not finished.
    (changed("events", 0, state="RETRYING"), {Rule.UNFINISHED, Rule.EFFECTS, Rule.MESSAGES}),
    (changed("events", 0, state="DEAD"), {Rule.UNFINISHED, Rule.EFFECTS, Rule.MESSAGES}),
    (changed("events", 1, state="PROCESSING"), {Rule.UNFINISHED, Rule.MESSAGES}),
    (changed("messages", 0, state="SENDING"), {Rule.UNSENT}),
    (changed("messages", 0, state="DEAD"), {Rule.UNSENT}),
    # What has changed on its way.
    (changed("events", 0, sha256="b9", recorded_sha256="b9"), {Rule.OTHER_BODY}),
    (changed("events", 0, sha256="b2", recorded_sha256="b2"), {Rule.OTHER_BODY}),
    (changed("events", 0, sha256=None), {Rule.OTHER_BODY, Rule.CORRUPT}),
    (changed("events", 0, recorded_sha256="b9"), {Rule.CORRUPT}),
    (changed("events", 0, type="order.lost"), {Rule.UNKNOWN_TYPE}),
    (changed("deliveries", 0, sha256="m9"), {Rule.OTHER_CONTENT}),
    (changed("deliveries", 5, destination="ledger"), {Rule.MISDIRECTED}),
    (changed("deliveries", 4, verified=False), {Rule.UNVERIFIED}),
    (changed("messages", 0, sha256="m9"), {Rule.OTHER_CONTENT}),
    # What the answers said.
    (changed("requests", 1, event="evt_9"), {Rule.OTHER_EVENT}),
    (changed("requests", 0, event=None), {Rule.OTHER_EVENT}),
    (changed("requests", 1, duplicate=False), {Rule.FIRST_TWICE}),
    (changed("events", 0, duplicates=0), {Rule.UNCOUNTED}),
]


def test_a_good_history_has_no_violation() -> None:
    assert check(GOOD, EXPECTED) == []


@pytest.mark.parametrize(("mutation", "rules"), MUTATIONS)
def test_each_mutation_is_found(mutation: Mutation, rules: set[Rule]) -> None:
    assert {violation.rule for violation in check(mutation(GOOD), EXPECTED)} == rules


def test_every_rule_has_a_mutation() -> None:
    assert {rule for _, rules in MUTATIONS for rule in rules} == set(Rule)


def test_an_orphan_effect_is_found() -> None:
    history = msgspec.structs.replace(GOOD, effects=[*GOOD.effects, "evt_9"])
    assert check(history, EXPECTED) == [Violation(Rule.ORPHAN_EFFECT, "evt_9")]


def test_a_violation_names_its_subject_and_its_rule() -> None:
    assert str(Violation(Rule.UNSENT, "msg_1")) == "msg_1: a message is not SENT"
