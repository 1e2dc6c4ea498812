"""Braintree: a form with XML in base64, signed in its other field; the address is checked by a challenge before."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs, urlencode
from xml.sax.saxutils import escape

from surehook.config import ProviderSettings
from surehook.errors import ConfigurationError, InvalidRequest
from surehook.packs.pack import Pack, Setup
from surehook.packs.reading import form
from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.keys import HmacKey
from surehook.packs.schemes.layout import MAX_CANDIDATES
from surehook.packs.schemes.php import FORM
from surehook.packs.verdicts import Challenge, Reader, Reading
from surehook.secrets import Secret

_PAYLOAD: Final = re.compile(r"[A-Za-z0-9+/=\n]+")
#: What is answered with its HMAC, to anyone who asks. So a payload must not look like it.
_CHALLENGE: Final = re.compile(r"[a-f0-9]{20,32}")

#: The XML is searched, not parsed: a parser would follow what it declares.
_KIND: Final = re.compile(r"<kind>([^<>&]{1,255})</kind>")
_TIMESTAMP: Final = re.compile(r"<timestamp[^<>]{0,50}>([^<>&]{1,50})</timestamp>")
_SUBJECT: Final = re.compile(r"<subject>.*?<id>([^<>&]{1,255})</id>", re.DOTALL)


def _keys(setup: Setup) -> Mapping[str, HmacKey]:
    """The live keys by their public names. Raises ConfigurationError for a key without one."""
    return dict([_key(secret, setup.settings.public_key) for secret in setup.secrets])


def _key(secret: Secret, public_key: str | None) -> tuple[str, HmacKey]:
    public, colon, private = secret.reveal().rpartition(":")
    name = public if colon else public_key
    if not name or not private:
        raise ConfigurationError(
            f"{secret.reference} is a private key: set public_key to the key that stands beside it, or put both "
            "into the secret, as public_key:private_key"
        )
    # it is Braintree's way to hash the key first
    hashed = hashlib.sha1(private.encode(), usedforsecurity=False).digest()
    return name, HmacKey(secret.reference, hashed, algorithm="sha1")


class _Scheme:
    def __init__(self, setup: Setup) -> None:
        self._keys = _keys(setup)

    def verify(self, request: Request) -> str:
        try:
            fields = form(request.body)
        except ValueError as error:
            raise BadSignature(f"the body is no form that can be verified: {error}") from None
        payload, signatures = fields.get("bt_payload", ""), fields.get("bt_signature", "").split("&")
        if not _PAYLOAD.fullmatch(payload) or _CHALLENGE.fullmatch(payload.strip("\n")):
            raise BadSignature("bt_payload is missing or no payload")
        if len(signatures) > MAX_CANDIDATES:
            raise BadSignature(f"more than {MAX_CANDIDATES} signatures in bt_signature")
        for public, _, signature in [each.partition("|") for each in signatures]:
            # a line break at its end is lost on some ways
            parts = [[payload.encode()], [payload.encode(), b"\n"]]
            key = self._keys.get(public)
            if key is not None and any(key.matches(each, [signature.encode()]) for each in parts):
                return key.reference
        raise BadSignature("no live secret made a signature in bt_signature", [payload.encode()])

    def sign(self, draft: Draft) -> Delivery:
        public, key = next(iter(self._keys.items()))
        payload = _payload(draft)
        signature = f"{public}|{key.sign([payload.encode()]).decode()}"
        body = urlencode({"bt_signature": signature, "bt_payload": payload}).encode()
        return Delivery({"content-type": FORM}, body, draft.query, draft.method)


def _payload(draft: Draft) -> str:
    """That of the form, or anything else in base64."""
    try:
        payload = form(draft.body).get("bt_payload", "")
    except ValueError:
        payload = ""
    payload = payload or base64.encodebytes(draft.body).decode()
    if not _PAYLOAD.fullmatch(payload):
        raise InvalidRequest("bt_payload must be base64")
    return payload


class _Reader(Reader):
    """An event is known by its payload: how the form around it is written changes nothing."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        payload = form(request.body)["bt_payload"].replace("\n", "")
        try:
            xml = base64.b64decode(payload, validate=True).decode()
        except binascii.Error:
            raise ValueError("bt_payload is no base64") from None
        kind = _KIND.search(xml)
        if kind is None:
            raise ValueError("bt_payload holds no notification")
        into.type = kind[1]
        into.subject = found[1] if (found := _SUBJECT.search(xml)) else None
        into.occurred_at = stamp[1] if (stamp := _TIMESTAMP.search(xml)) else None
        into.raw = payload.encode()
        return [into]


class Braintree(Pack):
    """A secret is the private key, with ``public_key`` set to the one beside it, or ``public_key:private_key``.

    Notifications have no id: an equal payload is the same event. ``event.data`` is the form's fields; the XML is in
    ``bt_payload``, in base64. Read it with a parser that expands no entities.
    """

    name = "braintree"
    summary = "Braintree webhook notifications"
    docs_url = "https://developer.paypal.com/braintree/docs/guides/webhooks/parse/python"
    certainty = "official library"
    proof = "form field `bt_signature`: HMAC-SHA1 over `bt_payload`, hex"
    credential = "the private key (set public_key too): Control Panel, API, API Keys"
    settings = frozenset({"public_key"})
    example = ProviderSettings(public_key="sample_public_key")
    methods = frozenset({"POST", "GET"})
    sample_type = "subscription_charged_successfully"

    def scheme(self, setup: Setup) -> Scheme:
        return _Scheme(setup)

    def reader(self, settings: ProviderSettings) -> Reader:
        return _Reader()

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        """Braintree proves nothing with its challenge: we prove with the answer that we have the key."""
        if request.method == "POST":
            return None
        [asked] = parse_qs(request.query).get("bt_challenge", [""])[-1:]
        if not _CHALLENGE.fullmatch(asked):
            raise BadSignature("bt_challenge is missing or no challenge")
        public, key = next(iter(_keys(setup).items()))
        return Challenge(200, f"{public}|{key.sign([asked.encode()]).decode()}".encode(), kind="bt_challenge")

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        """The id is that of the subscription, for an event has none."""
        xml = (
            '<notification>\n  <timestamp type="datetime">2026-09-21T14:13:20Z</timestamp>\n'
            f"  <kind>{escape(type or self.sample_type)}</kind>\n"
            f"  <subject><subscription><id>{escape(external_id or 'j318zu')}</id></subscription></subject>\n"
            "</notification>"
        )
        return urlencode({"bt_payload": base64.encodebytes(xml.encode()).decode()}).encode()


PACK: Final[Pack] = Braintree()
