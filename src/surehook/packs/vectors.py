"""Requests whose verdict is known beforehand: rows of a file, each with a request and what a receiver must make of it.

``tests/data/signatures/README.md`` describes the format. Command line and tests judge by this one module.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from surehook.clock import Millis
from surehook.config import ProviderSettings, ServerSettings
from surehook.errors import ConfigurationError, InvalidRequest
from surehook.model import Headers, NewEvent
from surehook.packs.build import build_provider
from surehook.packs.catalogue import PACKS
from surehook.packs.keystore import Fetch, Fetched, KeysUnavailable
from surehook.packs.pack import Setup
from surehook.packs.provider import Provider
from surehook.packs.reading import storable_id
from surehook.packs.request import KeySource, Request
from surehook.packs.vacancy import Vacancy
from surehook.packs.verdicts import Challenge, KeysWanted, Received, Refused, Settled
from surehook.secrets import Secret, SecretResolver

#: Senders that sign in two ways, which one pack knows.
_ALIASES: Final = {"gitlab_signed": "gitlab", "standard_webhooks_ed25519": "standard-webhooks"}
#: The secret of a row whose sender has none yet: the handshake is what hands it over.
_UNKNOWN: Final = "no-secret-yet"
#: What a note says of ``aux``.
_NOTED: Final = re.compile(r"aux\.(\w+)=(\S+)")
#: Where keys are published.
_GOOGLE: Final = "https://www.googleapis.com/oauth2/v3/certs"
_PLAID: Final = "https://production.plaid.com/webhook_verification_key/get"
#: Where nothing is said of the address, for those packs that cannot be built without one.
_SERVER: Final = ServerSettings(public_url="https://receiver.example")


class Sent(msgspec.Struct, frozen=True):
    """A request as it was captured; the body is base64."""

    method: str
    headers: dict[str, str]
    body_base64: bytes
    query: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What a handshake must be answered with; None: no matter."""

    status: int
    body: str | None = None
    json: Any = None
    json_alt: Any = None
    headers: dict[str, str] = {}
    content_type: str | None = None
    stores_secret: str | None = None
    #: What is done besides, before the answer.
    then: dict[str, str] | None = None


class Row(msgspec.Struct, frozen=True):
    """One line of the file: of a vector the request stands in the row itself, of a handshake in ``request``."""

    provider: str
    secret: str
    id: str = ""
    case: str = ""
    method: str = "POST"
    query: str = ""
    headers: dict[str, str] = {}
    body_base64: bytes = b""
    request: Sent | None = None
    #: The full public URL, for those who sign it.
    url: str | None = None
    #: What would be fetched or configured besides.
    aux: dict[str, Any] | None = None
    #: For people; ``aux.NAME=VALUE`` in it says more of what is configured.
    note: str = ""
    #: Unix seconds.
    now: float | None = None
    tolerance: int | None = None
    expect: Literal["accept", "reject"] | None = None
    expected_event: dict[str, Any] | None = None
    expected_response: Answer | None = None

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.id or f"{self.provider}-{self.case}"

    @property
    def pack(self) -> str:
        """The pack that is to judge it."""
        return _ALIASES.get(self.provider, self.provider.replace("_", "-"))


class Configured(NamedTuple):
    """What a row's provider is built from."""

    settings: ProviderSettings
    secrets: SecretResolver
    #: Answers with what the row's sender publishes.
    fetch: Fetch


class Judgement(msgspec.Struct, frozen=True):
    """What was made of a row, beside what was to be made of it."""

    id: str
    expected: str
    got: str
    #: Why it was refused, or could not be judged.
    detail: str = ""

    @property
    def agrees(self) -> bool:
        """Whether it is as expected."""
        return self.expected == self.got


_ROW: Final = msgspec.json.Decoder(Row)


def read_rows(lines: Iterable[bytes]) -> Sequence[Row]:
    """The rows of a file; what a sender publishes stands in its vectors, and holds for its handshakes as well.

    Raises InvalidRequest, with the line's number, for one that is none.
    """
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        try:
            rows += [_ROW.decode(line)] if line.strip() else []
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"line {number} is no vector: {error}.") from None
    known = {row.provider: row.aux for row in rows if row.aux is not None}
    return [row if row.aux is not None else replace(row, aux=known.get(row.provider)) for row in rows]


def configure(row: Row) -> Configured:
    """How the row's provider is configured: secret, tolerance and address, and what a pack may fetch besides.

    Whatever a pack needs beyond that, from ``aux`` for example, belongs here and nowhere else.
    """
    pack = PACKS[row.pack]
    aux = {**(row.aux or {}), **dict(_NOTED.findall(row.note))}
    example = {name: getattr(pack.example, name) for name in pack.settings - {"keys", "url"}}
    wanted: dict[str, Any] = {"tolerance": row.tolerance, "url": row.url, "email": aux.get("expected_email")}
    wanted["public_key"] = aux.get("public_key")
    known = example | {name: value for name, value in wanted.items() if value and name in pack.settings}
    secrets = ("env:VECTOR",) if pack.needs_secrets else ()
    settings = ProviderSettings(pack=row.pack, secrets=secrets, **known)
    return Configured(settings, lambda name: Secret(row.secret or _UNKNOWN, name), published(aux))


def published(aux: Mapping[str, Any], fetched: list[str] | None = None) -> Fetch:
    """What a sender publishes, and nothing else; ``fetched`` is told the addresses that were asked for."""
    pages = {**aux.get("certs", {}), _GOOGLE: msgspec.json.encode(aux.get("google_certs", {})).decode()}

    async def fetch(source: KeySource) -> Fetched:
        if fetched is not None:
            fetched.append(source.url)
        if "Action=ConfirmSubscription" in source.url:
            return Fetched(b"<ConfirmSubscriptionResponse/>")
        if source.url in pages:
            return Fetched(pages[source.url].encode())
        if source.url == _PLAID and source.post is not None:
            kid = msgspec.json.decode(source.post.reveal())["key_id"]
            unknown = {"error_code": "INVALID_WEBHOOK_VERIFICATION_KEY_ID"}
            known = aux.get("jwks", {})
            return Fetched(msgspec.json.encode({"key": known[kid]} if kid in known else unknown))
        raise LookupError(f"there is nothing at {source.url}")

    return fetch


def provider_of(row: Row, name: str | None = None) -> Provider:
    """The provider that judges the row, by its pack's name or another. Raises ConfigurationError when there can be none."""
    if row.pack not in PACKS:
        raise ConfigurationError(f"there is no pack {row.pack!r}")
    configured, pack = configure(row), PACKS[row.pack]
    if pack.learns_secret and not row.secret:
        setup = Setup(configured.settings, (), vacancy=Vacancy("env:VECTOR", None))
        return Provider(name or row.pack, pack, setup, _SERVER.max_body)
    return build_provider(
        name or row.pack, configured.settings, configured.secrets, _SERVER, configured.fetch
    )


def request_of(row: Row, now: Millis) -> Request:
    """The row's request, received at the row's moment, or ``now`` where it names none."""
    sent = row.request or row
    moment = now if row.now is None else Millis(round(row.now * 1000))
    headers: Headers = tuple((name.lower(), value) for name, value in sent.headers.items())
    return Request(row.pack, "", sent.method, headers, sent.body_base64, moment, sent.query)


def verdict_on(provider: Provider, request: Request) -> Settled:
    """What ingest makes of a request, with what it looks at before it asks the provider, and the keys that it fetches.

    Raises KeysUnavailable.
    """
    verdict = barred(provider, request) or provider.receive(request)
    return asyncio.run(provider.settle(request, verdict)) if isinstance(verdict, KeysWanted) else verdict


def barred(provider: Provider, request: Request) -> Refused | None:
    """Why ingest does not even ask the provider."""
    if request.method not in provider.methods:
        taken = " and ".join(sorted(provider.methods))
        return Refused(f"{request.method} is answered 405: {provider.pack} takes {taken}")
    if len(request.body) > provider.max_body:
        return Refused(f"the body is answered 413: it has more than {provider.max_body} bytes")
    return None


def judge(row: Row, now: Millis) -> Judgement:
    """Judge a row; ``now`` counts where it names no moment. What keeps it from being judged is a disagreement."""
    try:
        provider = provider_of(row)
        verdict = verdict_on(provider, request_of(row, now))
    except (ConfigurationError, KeysUnavailable) as error:
        return Judgement(row.name, _wanted(row), "error", str(error))
    detail = verdict.detail if isinstance(verdict, Refused) else ""
    if row.expected_response is not None:
        return _judge_answer(row, row.expected_response, _answer_of(provider, verdict), detail)
    if row.expect == "accept" and isinstance(verdict, Received) and row.expected_event:
        for what, wanted, found in _differences(row.expected_event, verdict.events):
            return Judgement(
                row.name, f"accept, {what} {_text(wanted)}", f"accept, {what} {_text(found)}", detail
            )
    return Judgement(row.name, _wanted(row), _short(verdict), detail)


def _wanted(row: Row) -> str:
    if row.expected_response is not None:
        return f"status {row.expected_response.status}"
    return row.expect or "accept or reject (the row does not say)"


def _short(verdict: Settled) -> str:
    refused = isinstance(verdict, Refused) or (isinstance(verdict, Challenge) and verdict.status >= 400)
    return "reject" if refused else "accept"


def _differences(wanted: Mapping[str, Any], events: Sequence[NewEvent]) -> Sequence[tuple[str, Any, Any]]:
    """What was read otherwise than expected: name, what was expected, what was read."""
    first = events[0]
    pairs: list[tuple[str, Any, Any]] = [
        ("type", None if "item_types" in wanted else wanted.get("type"), first.type),
        ("subject", wanted.get("subject"), first.subject),
        ("item_ids", wanted.get("item_ids"), [event.external_id for event in events]),
        ("item_types", wanted.get("item_types"), [event.type for event in events]),
    ]
    if "item_ids" not in wanted and wanted.get("external_id"):
        ids = {storable_id(wanted[name]) for name in ("external_id", "external_id_alt") if wanted.get(name)}
        pairs.insert(0, ("external_id", wanted["external_id"], first.external_id))
        if first.external_id in ids:
            pairs.pop(0)
    if wanted.get("occurred_at_unix") is not None:
        pairs.append(("occurred_at", round(wanted["occurred_at_unix"] * 1000), first.occurred_at))
    return [pair for pair in pairs if pair[1] is not None and pair[1] != pair[2]]


class _Answered(NamedTuple):
    """The answer that ingest would give: what of it is the provider's to say."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str]
    secret: str | None


def _answer_of(provider: Provider, verdict: Settled) -> _Answered:
    if isinstance(verdict, Challenge):
        headers = {name.lower(): value for name, value in verdict.headers}
        return _Answered(verdict.status, verdict.body, verdict.content_type, headers, verdict.secret)
    if isinstance(verdict, Refused):
        bare = provider.refuses_bare
        return _Answered(401, b"" if bare else b"{}", "" if bare else "application/problem+json", {}, None)
    status, body, content_type = provider.response
    return _Answered(status, body or b"", content_type or "application/json", {}, None)


def _judge_answer(row: Row, wanted: Answer, given: _Answered, detail: str) -> Judgement:
    if given.status != wanted.status:
        return Judgement(row.name, f"status {wanted.status}", f"status {given.status}", detail)
    facts = [("body", *_bodies(wanted, given.body)), ("secret", wanted.stores_secret, given.secret)]
    facts += [(name, value, given.headers.get(name.lower())) for name, value in wanted.headers.items()]
    if wanted.content_type is not None:
        media_type = given.content_type.partition(";")[0]
        facts.append(("content-type", wanted.content_type.partition(";")[0], media_type))
    for what, expected, found in facts:
        if expected is not None and expected != found:
            return Judgement(
                row.name,
                f"{wanted.status}, {what} {_text(expected)}",
                f"{given.status}, {what} {_text(found)}",
            )
    return Judgement(row.name, f"status {wanted.status}", f"status {given.status}", detail)


def _bodies(wanted: Answer, given: bytes) -> tuple[Any, Any]:
    """The body that was wanted and the one that was given, as comparable values."""
    alternatives = [each for each in (wanted.json, wanted.json_alt) if each is not None]
    read = _json(given)
    if alternatives and read in alternatives:
        return read, read
    if wanted.body is not None:
        return wanted.body, given.decode("utf-8", "replace")
    return wanted.json, read


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None


def _text(value: Any) -> str:
    return "missing" if value is None else msgspec.json.encode(value).decode()
