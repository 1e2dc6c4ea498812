"""Packs for senders that Surehook does not know by name: the settings say how they sign and where things stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from surehook.config import ProviderSettings
from surehook.errors import ConfigurationError, did_you_mean
from surehook.ingest.packs.base import SECRET_HEADERS, Challenge, Pack, Reader, Reading
from surehook.ingest.packs.reading import Document, is_json, scalar
from surehook.ingest.signatures import (
    ALGORITHMS,
    ENCODINGS,
    TOLERANCE,
    BasicScheme,
    HmacKey,
    Layout,
    NoScheme,
    Request,
    Scheme,
    SignatureScheme,
    TokenScheme,
)
from surehook.secrets import Secret

#: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
IDEMPOTENCY_KEY = "idempotency-key"
LOCATED = ("id", "type", "subject", "occurred_at")

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: RFC 6901: a slash before each reference token, ``~`` only as ``~0`` and ``~1``.
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)+")


def header_name(setting: str, name: str) -> str:
    """The lower-case form of a header's name. Raises ConfigurationError when it is none."""
    if not _HEADER_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{setting} = {name!r} names no header: letters, digits and hyphens are usual"
        )
    return name.lower()


class Location(msgspec.Struct, frozen=True):
    """Where in a request something stands: in a header or at a path of the JSON body, whichever is set."""

    header: str | None = None
    path: tuple[str, ...] = ()


def parse_location(setting: str, text: str) -> Location:
    """Read ``header:NAME`` or ``body:/json/pointer``. Raises ConfigurationError."""
    kind, _, rest = text.partition(":")
    if kind == "header":
        return Location(header=header_name(setting, rest))
    if kind == "body" and _POINTER.fullmatch(rest):
        tokens = rest.split("/")[1:]
        return Location(path=tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens))
    raise ConfigurationError(
        f"{setting} = {text!r} is no place in a request: write 'header:NAME' or 'body:/json/pointer'"
    )


def locations(settings: ProviderSettings) -> dict[str, Location]:
    """The places that the settings name, by what stands there."""
    written = {name: getattr(settings, name) for name in LOCATED}
    return {name: parse_location(name, text) for name, text in written.items() if text is not None}


class ConfiguredReader(Reader):
    """Reads each thing where the settings say; without ``id`` the header ``Idempotency-Key`` is the id."""

    def __init__(self, settings: ProviderSettings) -> None:
        places = {"id": Location(header=IDEMPOTENCY_KEY), **locations(settings)}
        self._headers = [(name, place.header) for name, place in places.items() if place.header is not None]
        self._paths = [(name, place.path) for name, place in places.items() if place.header is None]

    def read(self, request: Request, into: Reading) -> Challenge | None:
        for name, header in self._headers:
            setattr(into, name, request.optional(header))
        if self._paths or is_json(request):
            document = Document(request.body)
            for name, path in self._paths:
                setattr(into, name, scalar(document.find(path)))
        return None


class ConfigurablePack(Pack):
    """What the configurable packs have in common: any body, and places that the settings name."""

    settings = frozenset(LOCATED)
    docs_url = "https://github.com/standard-webhooks/standard-webhooks"
    example = ProviderSettings(id="body:/id", type="body:/type")
    sample_type = "order.created"

    def reader(self, settings: ProviderSettings) -> Reader:
        return ConfiguredReader(settings)

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        values: Mapping[str, str] = {"id": external_id, "type": type}
        places = {"id": Location(header=IDEMPOTENCY_KEY), **locations(settings)}
        return {
            places[name].header or "": values[name]
            for name in values
            if name in places and places[name].header
        }

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        return msgspec.json.encode(
            {
                "id": external_id or "sample-1",
                "type": type or self.sample_type,
                "created_at": "2026-09-21T14:13:20Z",
                "data": {"order": 4711, "total": "42.00"},
            }
        )


class Hmac(ConfigurablePack):
    """HMAC over the body, also with a time and an id, in a header of the sender's choice."""

    name = "hmac"
    summary = "any sender that puts an HMAC into a header"
    docs_url = "https://datatracker.ietf.org/doc/html/rfc2104"
    settings = ConfigurablePack.settings | {
        "header",
        "algorithm",
        "encoding",
        "prefix",
        "signed",
        "timestamp_header",
        "tolerance",
    }
    example = ProviderSettings(header="X-Signature", id="body:/id", type="body:/type")

    def scheme(self, settings: ProviderSettings, secrets: Sequence[Secret]) -> Scheme:
        make = _hmac_key(settings)
        if settings.tolerance and settings.timestamp_header is None:
            raise ConfigurationError(
                "tolerance needs timestamp_header: without a signed time nothing can be stale"
            )
        return SignatureScheme(_layout(settings), [make(s) for s in secrets], settings.tolerance or TOLERANCE)

    def covers_id(self, settings: ProviderSettings) -> bool:
        place = locations(settings).get("id", Location(header=IDEMPOTENCY_KEY))
        return place.header is None or _layout(settings).id_header is not None


def _layout(settings: ProviderSettings) -> Layout:
    signed = settings.signed or "{body}"
    stamp = settings.timestamp_header
    place = locations(settings).get("id", Location())
    return Layout(
        header=_required_header(settings),
        signed=signed,
        separator=",",
        timestamp_header=None if stamp is None else header_name("timestamp_header", stamp),
        id_header=place.header if "{id}" in signed else None,
    )


def _hmac_key(settings: ProviderSettings) -> Callable[[Secret], HmacKey]:
    algorithm = _choice("algorithm", settings.algorithm, ALGORITHMS)
    encoding = _choice("encoding", settings.encoding, ENCODINGS)
    prefix = settings.prefix or ""
    if "," in prefix or prefix != prefix.strip():
        raise ConfigurationError(
            f"prefix = {prefix!r}: a comma or a space at its ends cannot be told from a separator"
        )

    def make(secret: Secret) -> HmacKey:
        return HmacKey(
            secret.reference, secret.encode(), algorithm=algorithm, encoding=encoding, prefix=prefix
        )

    return make


def _choice(setting: str, value: str | None, known: Sequence[str]) -> str:
    chosen = value or known[0]
    if chosen not in known:
        raise ConfigurationError(f"{setting} = {chosen!r} is not known. {did_you_mean(chosen, known)}")
    return chosen


def _required_header(settings: ProviderSettings) -> str:
    if settings.header is None:
        raise ConfigurationError(
            "say which header carries the signature or token, e.g. header = 'X-Signature'"
        )
    return header_name("header", settings.header)


class Token(ConfigurablePack):
    """The same token with every request. It proves who sends, not that the body is unchanged: use TLS."""

    name = "token"
    summary = "any sender that puts a shared token into a header"
    docs_url = "https://datatracker.ietf.org/doc/html/rfc6750"
    settings = ConfigurablePack.settings | {"header", "prefix"}
    example = ProviderSettings(header="X-Webhook-Token", id="body:/id", type="body:/type")

    def scheme(self, settings: ProviderSettings, secrets: Sequence[Secret]) -> Scheme:
        return TokenScheme(_required_header(settings), secrets, settings.prefix or "")

    def dropped_headers(self, settings: ProviderSettings) -> frozenset[str]:
        return SECRET_HEADERS | {_required_header(settings)}


class Basic(ConfigurablePack):
    """HTTP Basic; each secret is ``user:password``. It proves who sends, not that the body is unchanged: use TLS."""

    name = "basic"
    summary = "any sender that logs in with HTTP Basic authentication"
    docs_url = "https://datatracker.ietf.org/doc/html/rfc7617"

    def scheme(self, settings: ProviderSettings, secrets: Sequence[Secret]) -> Scheme:
        return BasicScheme(secrets)


class Unverified(ConfigurablePack):
    """Whoever reaches the port is believed."""

    name = "none"
    summary = "no verification: only behind something that verifies"
    docs_url = "https://cheatsheetseries.owasp.org/cheatsheets/Webhook_Security_Cheat_Sheet.html"
    needs_secrets = False

    def scheme(self, settings: ProviderSettings, secrets: Sequence[Secret]) -> Scheme:
        return NoScheme()
