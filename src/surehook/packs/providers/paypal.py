"""PayPal: a checksum of the body is signed, with a key whose certificate PayPal publishes."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.request import BadSignature, Delivery, Draft, KeySource, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.keys import Key
from surehook.packs.schemes.moments import TIMESTAMP
from surehook.packs.schemes.published import (
    Pair,
    certificate,
    check_validity,
    pinned_pairs,
    rsa_keys,
    signer,
)

_CERTIFICATE: Final = re.compile(
    r"https://api(?:\.sandbox)?\.paypal\.com/v1/notifications/certs/[A-Za-z0-9_-]{1,128}"
)
_SAMPLE_CERTIFICATE: Final = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-00000000"
#: Without the bar that separates what is signed.
_TRANSMISSION: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_ALGORITHM: Final = "SHA256withRSA"


class _Scheme:
    def __init__(self, setup: Setup) -> None:
        self._webhooks = setup.secrets
        self._pinned = rsa_keys(pinned_pairs(setup.pinned))
        self._store = setup.store

    def verify(self, request: Request) -> str:
        transmission, sent = request.only("paypal-transmission-id"), request.only("paypal-transmission-time")
        if not _TRANSMISSION.fullmatch(transmission) or TIMESTAMP.read(sent) is None:
            raise BadSignature("paypal-transmission-id or -time is not written as it should be")
        if request.only("paypal-auth-algo") != _ALGORITHM:
            raise BadSignature(f"paypal-auth-algo is not {_ALGORITHM}")
        candidates = [request.only("paypal-transmission-sig").encode("latin-1", "replace")]
        keys = self._keys(request)
        for webhook in self._webhooks:
            parts = _signed(transmission, sent, webhook.reveal(), request.body)
            if any(key.matches(parts, candidates) for key in keys):
                return webhook.reference
        raise BadSignature("paypal-transmission-sig fits none of the webhook ids")

    def sign(self, draft: Draft) -> Delivery:
        key, sent = signer(self._pinned), TIMESTAMP.write(draft.now)
        transmission = f"{zlib.crc32(draft.body):08x}-fd74-11e4-8bf3-77339302725b"
        parts = _signed(transmission, sent, self._webhooks[0].reveal(), draft.body)
        headers = {
            "paypal-transmission-id": transmission,
            "paypal-transmission-time": sent,
            "paypal-transmission-sig": key.sign(parts).decode(),
            "paypal-cert-url": _SAMPLE_CERTIFICATE,
            "paypal-auth-algo": _ALGORITHM,
        }
        return Delivery(headers, draft.body, draft.query, draft.method)

    def _keys(self, request: Request) -> Sequence[Key]:
        url = request.only("paypal-cert-url")
        if not _CERTIFICATE.fullmatch(url):
            raise BadSignature("paypal-cert-url is none of PayPal")
        if self._pinned:
            return self._pinned
        found = self._store.find(KeySource(url, certificate), request.now)
        check_validity(found, request.now)
        if not _is_of_paypal(found):
            raise BadSignature("the certificate is not of PayPal")
        return rsa_keys([Pair("", found.public_key())])


def _signed(transmission: str, sent: str, webhook: str, body: bytes) -> Sequence[bytes]:
    return [f"{transmission}|{sent}|{webhook}|{zlib.crc32(body)}".encode()]


def _is_of_paypal(found: x509.Certificate) -> bool:
    names = [str(name.value) for name in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return len(names) == 1 and names[0].endswith(".paypal.com")


class PayPal(Pack):
    """The secret is the webhook's id, which PayPal signs as well: a delivery for another webhook is refused.

    Of the body only a checksum (CRC-32) is signed, which anyone can match with another body who has got hold of one
    delivery: ask PayPal's API before you act on large amounts. What the webhook simulator sends cannot be verified. The
    certificate is believed for coming from PayPal's own host; its chain is not looked at.
    """

    name = "paypal"
    summary = "PayPal webhooks, live and sandbox"
    docs_url = "https://developer.paypal.com/api/rest/webhooks/rest/"
    certainty = "official library"
    proof = "`paypal-transmission-sig`: RSA over transmission, webhook id and the body's CRC-32"
    credential = (
        "the webhook's id: Developer Dashboard, Apps & Credentials, the app, Webhooks. It is no secret"
    )
    settings = frozenset({"keys"})
    reads = Reads(
        id="body:/id",
        type="body:/event_type",
        subject="body:/resource/id",
        occurred_at="body:/create_time",
    )
    sample_type = "PAYMENT.CAPTURE.COMPLETED"
    sample_body = {
        "id": "WH-58D329510W468432D-8HN650336L201105X",
        "event_version": "1.0",
        "create_time": "2026-09-21T14:13:20.000Z",
        "resource_type": "capture",
        "event_type": "PAYMENT.CAPTURE.COMPLETED",
        "summary": "Payment completed for EUR 42.00",
        "resource": {
            "id": "42311647XV020574X",
            "amount": {"currency_code": "EUR", "value": "42.00"},
            "status": "COMPLETED",
        },
    }

    def scheme(self, setup: Setup) -> Scheme:
        return _Scheme(setup)


PACK: Final[Pack] = PayPal()
