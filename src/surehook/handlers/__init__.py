"""What handlers are and see: the registry they are decorated into, the event, and the transaction."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl
from weakref import WeakSet

import msgspec

from surehook.clock import isoformat
from surehook.cloudevents import CloudEvent
from surehook.config.units import milliseconds
from surehook.errors import ConfigurationError, Unavailable
from surehook.handlers.transaction import SyncTransaction, Transaction, publish, within
from surehook.ids import EVENT_PREFIX, typeid
from surehook.matching import is_pattern, matches
from surehook.model import Claim, Headers
from surehook.outbox import MessageBuffer
from surehook.packs.reading import FAULTS, Document
from surehook.pointers import parse_pointer, resolve_pointer
from surehook.retry import RetryPolicy
from surehook.storage import SetupFunction, UnitOfWork

__all__ = [
    "CompletingHandler",
    "Event",
    "Handler",
    "ReceivedPayload",
    "Registry",
    "SyncTransaction",
    "Transaction",
    "is_registered",
    "parse_body",
]

AnyHandler = TypeVar("AnyHandler", bound=Callable[..., Any])

_headers = msgspec.json.Decoder(Headers)
_UNREAD: Final = object()
_registered: WeakSet[Callable[..., Any]] = WeakSet()
#: How many combinations of provider, topic and type are remembered with their handlers.
_REMEMBERED = 10_000


class ReceivedPayload:
    """The request as it came: the exact bytes, and the headers that are kept (names in lower case)."""

    def __init__(self, body: bytes, content_type: str, headers: str) -> None:
        self.body = body
        self.content_type = content_type
        self._headers = headers

    @property
    def headers(self) -> Headers:
        """Pairs of name and value; a repeated header is a repeated pair."""
        return _headers.decode(self._headers)

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever the case of ``name``."""
        wanted = name.lower()
        return next((value for each, value in self.headers if each == wanted), None)


class Event:
    """One thing that happened, as a handler sees it. ``id`` is its TypeID."""

    __slots__ = (
        "_claim",
        "_data",
        "_messages",
        "attempt",
        "external_id",
        "id",
        "item",
        "payload",
        "provider",
        "subject",
        "topic",
        "traceparent",
        "type",
    )

    def __init__(self, claim: Claim, body: bytes, messages: MessageBuffer) -> None:
        self.id = typeid(EVENT_PREFIX, claim.id)
        self.provider = claim.provider
        self.topic = claim.topic
        self.external_id = claim.external_id
        self.type = claim.type
        self.subject = claim.subject
        self.item = claim.item
        #: 1 for the first; counted before it runs.
        self.attempt = claim.attempt
        self.traceparent = claim.traceparent
        self.payload = ReceivedPayload(body, claim.content_type, claim.headers)
        self._claim = claim
        self._messages = messages
        self._data: Any = _UNREAD

    @property
    def occurred_at(self) -> datetime | None:
        """When it happened, as the provider says, if it does; in UTC."""
        at = self._claim.occurred_at
        return None if at is None else _moment(at)

    @property
    def received_at(self) -> datetime:
        """When the request came; in UTC."""
        return _moment(self._claim.received_at)

    @property
    def data(self) -> Any:
        """The parsed body: JSON, or the fields of a form; of a request that holds several events, this one's part.

        Raises ValueError when the body is neither; ``event.payload.body`` has the bytes of the whole request.
        """
        if self._data is _UNREAD:
            whole = parse_body(self.payload.body, self.payload.content_type)
            part = self._claim.part
            self._data = whole if part is None else resolve_pointer(whole, part)
        return self._data

    def to_cloudevent(self) -> CloudEvent:
        """The event as CloudEvents 1.0 has it.

        ``id`` is the provider's and ``source`` its path, which together are what Surehook tells events apart by; ``time`` is
        when it happened, or came. The data is its bytes: of JSON exactly as they were sent.
        """
        body, content_type = self.payload.body, self.payload.content_type or "application/octet-stream"
        try:
            document = Document(body)
        except FAULTS:
            data = body
        else:
            data = bytes(document.find(parse_pointer(self._claim.part or "")) or b"null")
            content_type = "application/json"
        own = {"surehookid": self.id, "traceparent": self.traceparent}
        return CloudEvent(
            id=self.external_id,
            source=f"/webhooks/{self.provider}",
            type=self.type,
            subject=self.subject,
            time=isoformat(self._claim.occurred_at or self._claim.received_at),
            datacontenttype=content_type,
            data=data,
            extensions={name: value for name, value in own.items() if value},
        )

    def publish(
        self, destination: str, *, type: str, data: Any, subject: str | None = None, key: str | None = None
    ) -> str:
        """Send a message when, and only when, this event is completed: it is written in the same commit.

        Returns the message's id (``msg_...``), which every try of its delivery carries as ``webhook-id``. Raises
        InvalidRequest for a destination that is not configured, a type that is no text, or data that cannot be JSON.
        """
        return publish(self._messages, destination, type=type, data=data, subject=subject, key=key)

    def __repr__(self) -> str:
        return f"<Event {self.id} {self.provider} {self.type} attempt={self.attempt}>"


def parse_body(body: bytes, content_type: str) -> Any:
    """JSON, or the fields of a form; a form with the single field ``payload`` (GitHub, Slack) is the JSON in it.

    What begins like a JSON object or array is JSON whatever its content type says: many senders never set one.
    """
    form = content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"
    if form and body.lstrip()[:1] not in (b"{", b"["):
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        return _parse_json(fields["payload"].encode()) if fields.keys() == {"payload"} else fields
    return _parse_json(body)


def _parse_json(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"the body is no JSON ({error}); event.payload.body has the bytes") from error


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)


class CompletingHandler(ABC):
    """A function that writes the event's completion in a transaction of its own tool, such as Django's."""

    @abstractmethod
    def run(self, event: Event, complete: Callable[[object, Any], None]) -> None:
        """Call the function, and before the commit ``complete`` with its result and the driver's connection.

        Runs in a thread. Returns when everything is committed. Passes on what ``complete`` raises, with nothing committed.
        """


class Handler(msgspec.Struct, frozen=True):
    """A registered function and what it is for."""

    function: Callable[..., Any]
    name: str
    provider: str
    type: str
    topic: str | None
    is_async: bool
    wants_transaction: bool
    #: None: the default of the settings.
    retries: RetryPolicy | None
    #: Milliseconds; None: the default of the settings.
    timeout: int | None
    #: The function, if it completes the event by itself.
    completing: CompletingHandler | None = None

    def handles(self, provider: str, topic: str, type: str) -> bool:
        """Whether an event is for it."""
        return self.provider in {provider, "*"} and self.topic in {None, topic} and matches(self.type, type)


class Registry:
    """The handlers and set-up functions of an application."""

    def __init__(self) -> None:
        self.handlers: list[Handler] = []
        self.setup_functions: list[SetupFunction] = []
        self._remembered: dict[tuple[str, str, str], tuple[Handler, ...]] = {}

    def on(
        self,
        provider: str,
        type: str = "*",
        *,
        topic: str | None = None,
        retries: Sequence[str] | None = None,
        timeout: str | None = None,
    ) -> Callable[[AnyHandler], AnyHandler]:
        """Decorates a handler: ``async def`` or ``def``, with the parameters ``event`` and, if it wants one, ``tx``.

        ``type`` is exact or ends in a wildcard (``invoice.*``); ``provider`` may be ``*``. ``retries`` (waits such as
        ``["10s", "1m"]``) and ``timeout`` replace the settings for this handler. Raises ConfigurationError when the
        function or an option cannot work.
        """

        if callable(provider):
            name = getattr(provider, "__qualname__", provider)
            raise ConfigurationError(
                f"@app.on before {name} lacks its provider: write @app.on('stripe', 'invoice.paid')"
            )
        if not is_pattern(type):
            raise ConfigurationError(
                f"@app.on: type {type!r} is no pattern: write a type, 'invoice.*' or '*'"
            )

        def register(function: AnyHandler) -> AnyHandler:
            self._remembered.clear()
            if inspect.isfunction(function):
                _registered.add(function)
            self.handlers.append(
                Handler(
                    function=function,
                    name=f"{function.__module__}.{function.__qualname__}",
                    provider=provider,
                    type=type,
                    topic=topic,
                    is_async=inspect.iscoroutinefunction(function),
                    wants_transaction=_wants_transaction(function),
                    retries=_policy(retries),
                    timeout=None if timeout is None else _duration(timeout),
                    completing=function if isinstance(function, CompletingHandler) else None,
                )
            )
            return function

        return register

    def setup(
        self, function: Callable[[Transaction], Awaitable[None]]
    ) -> Callable[[Transaction], Awaitable[None]]:
        """Decorates a function that makes the application's own tables; runs in a transaction at every start."""
        parameters = len(inspect.signature(function).parameters)
        if not inspect.iscoroutinefunction(function) or parameters != 1:
            raise ConfigurationError(
                f"@app.setup: {function.__qualname__} must be an 'async def' with one parameter, tx"
            )

        async def run(unit: UnitOfWork) -> None:
            try:
                tx = Transaction(unit, None)
                await within(tx, function(tx))
            except Unavailable:
                raise
            except Exception as error:
                name = function.__qualname__
                raise ConfigurationError(
                    f"@app.setup: {name} failed: {type(error).__name__}: {error}"
                ) from error

        self.setup_functions.append(run)
        return function

    def longest_timeout(self, default: int) -> int:
        """What the most patient handler may take, in milliseconds; ``default`` is for those that say nothing."""
        return max([default, *(each.timeout for each in self.handlers if each.timeout is not None)])

    def handlers_for(self, provider: str, topic: str, type: str) -> tuple[Handler, ...]:
        """The handlers of an event, in the order of their registration."""
        key = (provider, topic, type)
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            found = tuple(each for each in self.handlers if each.handles(*key))
            self._remembered[key] = found
        return found


def is_registered(function: Callable[..., Any]) -> bool:
    """Whether it is a handler already: a decorator that comes now comes too late."""
    return function in _registered


def _wants_transaction(function: Callable[..., Any]) -> bool:
    name = function.__qualname__
    plain = inspect.unwrap(function)
    if inspect.isasyncgenfunction(plain) or inspect.isgeneratorfunction(plain):
        raise ConfigurationError(
            f"@app.on: {name} contains 'yield', so calling it runs nothing: a handler has none"
        )
    parameters = list(inspect.signature(function).parameters)
    if parameters not in (["event"], ["event", "tx"]):
        raise ConfigurationError(
            f"@app.on: {name}({', '.join(parameters)}) cannot be called: a handler has the parameters (event) or "
            "(event, tx)"
        )
    return len(parameters) == 2


def _policy(retries: Sequence[str] | None) -> RetryPolicy | None:
    if retries is None:
        return None
    if isinstance(retries, str):
        raise ConfigurationError(
            f"@app.on: retries={retries!r} is one text: write a list of waits, [{retries!r}]"
        )
    return RetryPolicy(tuple(map(_duration, retries)))


def _duration(text: str) -> int:
    try:
        return milliseconds(text)
    except (ValueError, AttributeError):
        raise ConfigurationError(
            f"@app.on: {text!r} is no duration; write one like '10s', '5m' or '1h'"
        ) from None
