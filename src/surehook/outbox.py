"""What a handler publishes, committed with its completion: the only way out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from surehook.clock import Clock, isoformat
from surehook.config import MIB, ForwardRule
from surehook.errors import InvalidRequest, did_you_mean
from surehook.ids import MessageId, uuid7
from surehook.matching import matches
from surehook.model import Claim, NewMessage

#: The largest body that a handler can publish. What is forwarded is bounded by the ``max_body`` of its provider instead.
MAX_BODY: Final = MIB
#: Messages that one attempt can publish.
MAX_MESSAGES: Final = 1_000
#: Characters of a message's type, subject or key.
MAX_NAME: Final = 256

_DEPTH = 200
_encoder = msgspec.json.Encoder(order="deterministic")


class Envelope(msgspec.Struct, frozen=True):
    """The body of a delivered message, as Standard Webhooks lays it out."""

    type: str
    timestamp: str
    data: Any


class Outbox:
    """Makes messages for the destinations that are configured."""

    def __init__(self, destinations: Collection[str], clock: Clock) -> None:
        self._destinations = frozenset(destinations)
        self._clock = clock

    def message(
        self,
        destination: str,
        *,
        type: str,
        data: Any,
        subject: str | None = None,
        key: str | None = None,
        traceparent: str | None = None,
    ) -> NewMessage:
        """A message with an id of its own and its body in final form.

        ``data`` is anything that msgspec writes as JSON; the same data makes the same bytes. ``key`` names what the
        messages are about that must not overtake each other.

        Raises InvalidRequest when the destination is unknown, a name is not usable, the data cannot be JSON (the message
        says which part), or the body is larger than MAX_BODY.
        """
        if destination not in self._destinations:
            raise self._unknown(destination)
        _check_names(type, subject, key)
        now = self._clock.now()
        body = _encode(Envelope(type, isoformat(now), data))
        if len(body) > MAX_BODY:
            raise InvalidRequest(
                f"the message {type!r} for {destination!r} has {len(body)} bytes, and {MAX_BODY} are the most: "
                "publish a reference to the data instead"
            )
        return NewMessage(MessageId(uuid7(now)), destination, type, body, subject, key, traceparent)

    def collect(self, traceparent: str | None = None) -> MessageBuffer:
        """An empty buffer for one attempt; ``traceparent`` goes with each of its messages."""
        return MessageBuffer(self, traceparent)

    def forwarded(self, rules: Sequence[ForwardRule], claim: Claim, data: Any) -> tuple[NewMessage, ...]:
        """The messages that the forward rules make of an event: one for each destination, however many rules name it.

        Type and subject are the event's, the timestamp is when it occurred (or else was received), so that an attempt
        that is repeated makes the same bytes. Raises InvalidRequest as ``message`` does, but for the size.
        """
        wanted = dict.fromkeys(name for rule in rules if applies(rule, claim) for name in rule.to)
        if not wanted:
            return ()
        # parsed from JSON, the data holds nothing that JSON cannot say: a large body is not searched for it
        envelope = Envelope(claim.type, isoformat(claim.occurred_at or claim.received_at), data)
        body = _encode(envelope, parsed=True)
        return tuple(self._forward(name, claim, body) for name in wanted)

    def _forward(self, destination: str, claim: Claim, body: bytes) -> NewMessage:
        if destination not in self._destinations:
            raise self._unknown(destination)
        id = MessageId(uuid7(self._clock.now()))
        return NewMessage(id, destination, claim.type, body, claim.subject, None, claim.traceparent)

    def _unknown(self, name: str) -> InvalidRequest:
        return InvalidRequest(
            f"there is no destination {name!r}: add [destinations.{name}] to the configuration. "
            f"{did_you_mean(str(name), self._destinations)}"
        )


class MessageBuffer:
    """What one attempt publishes; nothing of it exists before the attempt's completion is committed."""

    def __init__(self, outbox: Outbox, traceparent: str | None = None) -> None:
        self._outbox = outbox
        self._traceparent = traceparent
        self._messages: list[NewMessage] = []

    @property
    def messages(self) -> tuple[NewMessage, ...]:
        """What was published so far, in order."""
        return tuple(self._messages)

    def publish(
        self, destination: str, *, type: str, data: Any, subject: str | None = None, key: str | None = None
    ) -> MessageId:
        """Add one message; returns the id that every try of its delivery will carry.

        Raises InvalidRequest as ``Outbox.message`` does, and when the attempt has published MAX_MESSAGES already.
        """
        if len(self._messages) >= MAX_MESSAGES:
            raise InvalidRequest(
                f"one attempt can publish {MAX_MESSAGES} messages at most: put several items into the data of one message"
            )
        message = self._outbox.message(
            destination, type=type, data=data, subject=subject, key=key, traceparent=self._traceparent
        )
        self._messages.append(message)
        return message.id


def applies(rule: ForwardRule, claim: Claim) -> bool:
    """Whether a forward rule is about this event; a field that the rule leaves out does not restrict."""
    return (
        (rule.provider is None or rule.provider == claim.provider)
        and (rule.topic is None or rule.topic == claim.topic)
        and (rule.type is None or matches(rule.type, claim.type))
    )


def _check_names(type: str, subject: str | None, key: str | None) -> None:
    if not _is_name(type):
        raise _no_name("type", type)
    if subject is not None and not _is_name(subject):
        raise _no_name("subject", subject)
    if key is not None and not _is_name(key):
        raise _no_name("key", key)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME and value.isprintable() and bool(value.strip())


def _no_name(name: str, value: Any) -> InvalidRequest:
    return InvalidRequest(
        f"{name}={_shortened(value)} of a message: give text of 1 to {MAX_NAME} printable characters"
    )


def _encode(envelope: Envelope, *, parsed: bool = False) -> bytes:
    try:
        body = _encoder.encode(envelope)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        where, why = next(_faults(envelope.data, "data", 0), ("data", str(error)))
        raise InvalidRequest(f"{where} of the message {envelope.type!r} cannot be JSON: {why}") from error
    # msgspec writes NaN and the infinities as null, which would deliver something else than was published.
    if not parsed and b"null" in body:
        for where, why in _faults(envelope.data, "data", 0):
            raise InvalidRequest(f"{where} of the message {envelope.type!r} cannot be JSON: {why}")
    return body


def _faults(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """The parts of ``value`` that JSON cannot hold, each with the reason, in order."""
    if depth > _DEPTH:
        yield path, f"it is nested more than {_DEPTH} deep, or contains itself"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _key_faults(key, path)
            yield from _faults(item, f"{path}[{_shortened(key)}]", depth + 1)
    else:
        parts = _parts(value)
        if parts is None:
            yield from _leaf_faults(value, path)
        else:
            for name, item in parts:
                yield from _faults(item, f"{path}{name}", depth + 1)


def _parts(value: Any) -> list[tuple[str, Any]] | None:
    """The named parts of a container, or None for anything else."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    if isinstance(value, msgspec.Struct):
        return [(f".{name}", getattr(value, name)) for name in value.__struct_fields__]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f".{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value)]
    return None


def _key_faults(key: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(key, str):
        yield from _leaf_faults(key, path)
    else:
        yield path, f"its key {_shortened(key)} is no text, and JSON knows no other keys"


def _leaf_faults(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield path, f"JSON has no {value!r}"
        return
    try:
        _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        yield path, str(error)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
