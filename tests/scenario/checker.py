"""The checker: a pure function from a history to what is wrong with it.

It is run when the system has come to rest. For each rule there is a mutation of a good history in
``tests/unit/scenario`` that it must find.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum

import msgspec

from tests.scenario.history import History, Key, StoredMessage


class Rule(StrEnum):
    """What can be wrong."""

    LOST = "an acknowledged event is not stored"
    OTHER_BODY = "the stored body is not one that was sent under this key"
    CORRUPT = "the recorded digest is not that of the stored body"
    STORED_TWICE = "a key is stored more than once"
    PHANTOM = "a stored event was never sent, or only refused"
    OTHER_EVENT = "an answer named another event than the stored one"
    FIRST_TWICE = "two answers said that they stored the event"
    UNCOUNTED = "fewer duplicates are counted than were acknowledged"
    UNFINISHED = "an event is not PROCESSED"
    UNKNOWN_TYPE = "an event has a type that nobody sent"
    EFFECTS = "an event has not exactly the effects of one attempt"
    ORPHAN_EFFECT = "an effect belongs to no stored event"
    MESSAGES = "an event has not exactly the messages of one attempt"
    ORPHAN_MESSAGE = "a message belongs to no stored event"
    MESSAGE_TWICE = "a message id is in the outbox more than once"
    UNSENT = "a message is not SENT"
    UNDELIVERED = "a message has not arrived at its destination"
    OTHER_CONTENT = "a delivery's body is not the message's"
    INVENTED = "a delivery has an id that is not in the outbox"
    MISDIRECTED = "a message was delivered to another destination"
    UNVERIFIED = "the official library refused a delivery's signature"


class Violation(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    rule: Rule
    #: The key or id that it is about.
    subject: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.rule}"


class Expected(msgspec.Struct, frozen=True):
    """What one successful attempt at an event leaves behind."""

    effects: int = 1
    messages: int = 1


Found = Iterator[tuple[Rule, object]]


def check(history: History, expected: Mapping[str, Expected]) -> list[Violation]:
    """Everything that is wrong; ``expected`` tells, by event type, what handlers leave behind."""
    rules: tuple[Callable[[], Found], ...] = (
        lambda: _acknowledged(history),
        lambda: _stored_once(history),
        lambda: _stored_as_sent(history),
        lambda: _answers(history),
        lambda: _processed(history, expected),
        lambda: _orphans(history),
        lambda: _sent(history),
        lambda: _delivered(history),
    )
    return [Violation(rule, str(subject)) for find in rules for rule, subject in find()]


def _acknowledged(history: History) -> Found:
    stored = {event.key for event in history.events}
    for key in sorted({request.key for request in history.requests if request.acknowledged} - stored):
        yield Rule.LOST, key


def _stored_once(history: History) -> Found:
    for key, rows in Counter(event.key for event in history.events).items():
        if rows > 1:
            yield Rule.STORED_TWICE, key


def _stored_as_sent(history: History) -> Found:
    sent: defaultdict[Key, set[str]] = defaultdict(set)
    for request in history.requests:
        if not request.refused:
            sent[request.key].add(request.sha256)
    for event in history.events:
        if event.key not in sent:
            yield Rule.PHANTOM, event.key
        elif event.sha256 not in sent[event.key]:
            yield Rule.OTHER_BODY, event.key
        if event.sha256 != event.recorded_sha256:
            yield Rule.CORRUPT, event.key


def _answers(history: History) -> Found:
    first: Counter[Key] = Counter()
    again: Counter[Key] = Counter()
    stored = {event.key: event for event in history.events}
    for request in history.requests:
        event = stored.get(request.key)
        if not request.acknowledged or event is None:
            continue
        if request.event != event.id:
            yield Rule.OTHER_EVENT, request.key
        (again if request.duplicate else first)[request.key] += 1
    for key, event in stored.items():
        if first[key] > 1:
            yield Rule.FIRST_TWICE, key
        if again[key] > event.duplicates:
            yield Rule.UNCOUNTED, key


def _processed(history: History, expected: Mapping[str, Expected]) -> Found:
    effects = Counter(history.effects)
    messages = Counter(message.event for message in history.messages)
    for event in history.events:
        finished = event.state == "PROCESSED"
        if not finished:
            yield Rule.UNFINISHED, event.key
        if event.type not in expected:
            yield Rule.UNKNOWN_TYPE, event.key
            continue
        due = expected[event.type] if finished else Expected(effects=0, messages=0)
        if effects[event.id] != due.effects:
            yield Rule.EFFECTS, event.key
        if messages[event.id] != due.messages:
            yield Rule.MESSAGES, event.key


def _orphans(history: History) -> Found:
    events = {event.id for event in history.events}
    for effect in history.effects:
        if effect not in events:
            yield Rule.ORPHAN_EFFECT, effect
    for message in history.messages:
        if message.event not in events:
            yield Rule.ORPHAN_MESSAGE, message.id


def _sent(history: History) -> Found:
    arrived = {(delivery.destination, delivery.id) for delivery in history.deliveries if delivery.arrived}
    for id, rows in Counter(message.id for message in history.messages).items():
        if rows > 1:
            yield Rule.MESSAGE_TWICE, id
    for message in history.messages:
        if message.state != "SENT":
            yield Rule.UNSENT, message.id
        if (message.destination, message.id) not in arrived:
            yield Rule.UNDELIVERED, message.id


def _delivered(history: History) -> Found:
    outbox: dict[str, StoredMessage] = {message.id: message for message in history.messages}
    for delivery in history.deliveries:
        if not delivery.verified:
            yield Rule.UNVERIFIED, delivery.id
        message = outbox.get(delivery.id)
        if message is None:
            yield Rule.INVENTED, delivery.id
            continue
        if message.destination != delivery.destination:
            yield Rule.MISDIRECTED, delivery.id
        if message.sha256 != delivery.sha256:
            yield Rule.OTHER_CONTENT, delivery.id
