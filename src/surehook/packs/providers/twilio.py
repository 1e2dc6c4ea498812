"""Twilio: the address is signed with the fields of a form, or with a digest of the body in its query."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from surehook.config import ProviderSettings
from surehook.errors import ConfigurationError
from surehook.packs.address import Address, port_spellings
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.reader import JsonReader
from surehook.packs.reading import parameter
from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.keys import HmacKey
from surehook.packs.verdicts import Challenge, Reader, Reading
from surehook.secrets import Secret

SIGNATURE: Final = "x-twilio-signature"
SIGNATURE_SETTINGS: Final = "x-twilio-webhooks-signature-settings"
ID: Final = "i-twilio-idempotency-token"
BODY_DIGEST: Final = "bodySHA256"
FORM: Final = "application/x-www-form-urlencoded"

_MOST_FIELDS = 1000
#: By their names in the header; an Auth Token signs without one, by the first.
_ALGORITHMS: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_LOOKS_LIKE_FORM = re.compile(rb"[A-Za-z][A-Za-z0-9_.]*=")
#: What the products call the state of what they report on, and what it is a state of.
_STATES: Final = {
    "MessageStatus": "message.",
    "SmsStatus": "message.",
    "RecordingStatus": "recording.",
    "CallStatus": "call.",
    "EventType": "",
}
_SUBJECTS: Final = ("MessageSid", "SmsSid", "RecordingSid", "CallSid", "ConversationSid", "AccountSid")


class TwilioScheme:
    """HMAC-SHA1 with an Auth Token, or HMAC-SHA256 with a shared key, over the address and the fields.

    Some of Twilio's servers sign the address with its port and others without, whichever it was given with.
    """

    def __init__(self, secrets: Sequence[Secret], address: Address | None) -> None:
        if address is None:
            raise ConfigurationError(
                "the address is signed: say where the sender posts to with server.public_url or url"
            )
        self._address = address
        self._keys = {
            name: [
                HmacKey(secret.reference, secret.encode(), algorithm=algorithm, encoding="base64")
                for secret in secrets
            ]
            for name, algorithm in _ALGORITHMS.items()
        }

    def verify(self, request: Request) -> str:
        signature = [request.only(SIGNATURE).encode("latin-1", "replace")]
        keys = self._keys[_algorithm(request.optional(SIGNATURE_SETTINGS))]
        fields = _signed_fields(request)
        spellings = [_bytes(url) for url in port_spellings(self._address.of(request))]
        for key in keys:
            if any(key.matches([url, fields], signature) for url in spellings):
                return key.reference
        raise BadSignature(f"no live secret made the signature in {SIGNATURE}", [spellings[0], fields])

    def sign(self, draft: Draft) -> Delivery:
        if _LOOKS_LIKE_FORM.match(draft.body):
            headers, fields = {"content-type": FORM}, _joined(_pairs(draft.body))
        else:
            headers, fields = {}, b""
            query = urlencode({BODY_DIGEST: hashlib.sha256(draft.body).hexdigest()})
            draft = msgspec.structs.replace(draft, query=query)
        signature = self._keys["HMAC_SHA1"][0].sign([_bytes(self._address.of(draft)), fields]).decode()
        return Delivery({**headers, SIGNATURE: signature}, draft.body, draft.query, draft.method)


def _bytes(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _algorithm(text: str | None) -> str:
    """The algorithm of a header like ``key=webhooks_sharedkey_...,algorithm=HMAC_SHA256``; without it SHA-1."""
    if text is None:
        return "HMAC_SHA1"
    named = [item.strip(" ") for item in text.split(",")]
    found = [item.removeprefix("algorithm=") for item in named if item.startswith("algorithm=")]
    if len(found) != 1 or found[0] not in _ALGORITHMS:
        raise BadSignature(f"{SIGNATURE_SETTINGS} names no known algorithm")
    return found[0]


def _signed_fields(request: Request) -> bytes:
    """What is signed after the address: nothing where the query, which is part of it, holds the body's digest.

    The headers do not decide which it is, since they are not signed.
    """
    if BODY_DIGEST in request.query:
        given = parameter(request, BODY_DIGEST) or ""
        wanted = hashlib.sha256(request.body).hexdigest()
        if not hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace")):
            raise BadSignature(f"{BODY_DIGEST} in the query is not the body's")
        return b""
    if (request.method == "GET") == bool(request.body):
        raise BadSignature(
            "a GET must have no body, and a POST fields in its own: else one could become the other"
        )
    return _joined(_pairs(request.body))


def _pairs(body: bytes) -> Sequence[tuple[bytes, bytes]]:
    """The fields of a form byte by byte, whatever their encoding."""
    text = body.decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, encoding="latin-1", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise BadSignature(f"the form holds more than {_MOST_FIELDS} fields") from None
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


def _joined(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"".join([name + value for name, value in sorted(set(pairs))])


class TwilioReader(Reader):
    """Forms name their event by the state of a message or call; events of Event Streams are JSON with an id each."""

    def __init__(self, around: Reads, item: Reads) -> None:
        self._json = JsonReader(around, "", item)

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        into.id = request.optional(ID)
        if BODY_DIGEST in request.query:
            return self._json.read(request, into)
        data = request.body if request.method == "POST" else _bytes(request.query)
        fields = _fields(data)
        for name, prefix in _STATES.items():
            if name in fields:
                into.type = prefix + fields[name]
                break
        into.subject = next((fields[name] for name in _SUBJECTS if name in fields), None)
        return None


def _fields(data: bytes) -> Mapping[str, str]:
    """The fields that are not empty, of repeated ones the first. Raises ValueError for what is not UTF-8."""
    pairs = parse_qsl(data.decode(), errors="strict", max_num_fields=_MOST_FIELDS)
    return dict(reversed(pairs))


class Twilio(Pack):
    """``url`` must be the one in Twilio's pages; behind a proxy nothing else tells it.

    The answer is an empty TwiML document, which Twilio takes for "nothing to say": it would read Surehook's JSON out to a
    caller or complain of it. Whether a request is a GET is not signed, nor is ``I-Twilio-Idempotency-Token``, the external
    id. A GET is stored as if its query had been posted as a form. A shared key is given as a secret beside the Auth Token.
    """

    name = "twilio"
    summary = "Twilio webhooks and status callbacks as form, GET or JSON, and Event Streams"
    docs_url = "https://www.twilio.com/docs/usage/webhooks/webhooks-security"
    certainty = "official library"
    proof = (
        "`x-twilio-signature`: HMAC-SHA1, or HMAC-SHA256 with "
        "a shared key, over address and fields or body, base64"
    )
    credential = "the account's primary Auth Token: Console, Account Info; or a shared key for webhooks"
    settings = frozenset({"url"})
    id_is_signed = False
    signs_url = True
    methods = frozenset({"GET", "POST"})
    response = (200, b"<Response/>", "text/xml")
    reads = Reads(id=f"header:{ID}")
    item = Reads(
        id="body:/id",
        type="body:/type",
        subject=("body:/data/messageSid", "body:/data/callSid", "body:/subject"),
        occurred_at="body:/time",
    )
    example = ProviderSettings(url="https://hooks.example.com/webhooks/twilio")
    sample_type = "message.received"

    def scheme(self, setup: Setup) -> Scheme:
        return TwilioScheme(setup.secrets, setup.address)

    def reader(self, settings: ProviderSettings) -> Reader:
        return TwilioReader(self.reads, self.item)

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        """A form for messages and calls, an event of Event Streams for other types."""
        kind, _, state = (type or self.sample_type).partition(".")
        account = {"AccountSid": "AC00000000000000000000000000000001", "ApiVersion": "2010-04-01"}
        if kind == "message" and state:
            sid = "SM00000000000000000000000000000002"
            sent = {"MessageSid": sid, "SmsSid": sid, "From": "24242", "To": "33733", "Body": "Hello there"}
            return urlencode({**account, **sent, "SmsStatus": state}).encode()
        if kind == "call" and state:
            call = {"CallSid": "CA00000000000000000000000000000003", "From": "24242", "To": "33733"}
            return urlencode({**account, **call, "CallStatus": state}).encode()
        return msgspec.json.encode(
            {
                "specversion": "1.0",
                "type": type,
                "id": external_id or "EZ00000000000000000000000000000004",
                "time": "2026-09-21T14:13:20.000Z",
                "data": {"messageSid": "SM00000000000000000000000000000002"},
            }
        )


PACK: Final[Pack] = Twilio()
