"""Stripe: time and signatures in one header, everything else in the body."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from surehook.config import ProviderSettings
from surehook.errors import ConfigurationError
from surehook.ingest.packs.base import Challenge, Pack, Reader, Reading
from surehook.ingest.packs.reading import NOTHING, decode, require_single, scalar, within
from surehook.ingest.signatures import TOLERANCE, HmacKey, Layout, Request, Scheme, SignatureScheme
from surehook.secrets import Secret

LAYOUT = Layout(header="stripe-signature", signed="{timestamp}.{body}", separator=",", timestamp_item="t=")


class _Identified(msgspec.Struct, frozen=True):
    id: Raw = NOTHING


class _Data(msgspec.Struct, frozen=True):
    object: _Identified = _Identified()


class _Event(msgspec.Struct, frozen=True):
    id: Raw = NOTHING
    type: Raw = NOTHING
    #: Unix seconds; ISO 8601 in thin events.
    created: Raw = NOTHING
    data: Raw = NOTHING
    #: What a thin event (``v2.core.event``) is about.
    related_object: Raw = NOTHING


_EVENT = msgspec.json.Decoder(_Event)
_DATA = msgspec.json.Decoder(_Data)
_RELATED = msgspec.json.Decoder(_Identified)


class StripeReader(Reader):
    """``id``, ``type``, ``created`` and the id of the object it is about."""

    def read(self, request: Request, into: Reading) -> Challenge | None:
        event = decode(_EVENT, request.body)
        require_single(request.body, "id")
        into.id = scalar(event.id)
        into.type = scalar(event.type)
        into.occurred_at = scalar(event.created)
        into.subject = _subject(event)
        return None


def _subject(event: _Event) -> str | None:
    data = within(_DATA, event.data)
    about = data.object if data else within(_RELATED, event.related_object)
    return scalar(about.id) if about else None


class Stripe(Pack):
    """The secret is used as it is pasted, ``whsec_`` included. The time in the header is signed."""

    name = "stripe"
    summary = "Stripe events, snapshot and thin"
    docs_url = "https://docs.stripe.com/webhooks"
    settings = frozenset({"tolerance"})
    sample_type = "invoice.paid"

    def scheme(self, settings: ProviderSettings, secrets: Sequence[Secret]) -> Scheme:
        keys = [HmacKey(secret.reference, _key(secret), prefix="v1=") for secret in secrets]
        return SignatureScheme(LAYOUT, keys, settings.tolerance or TOLERANCE)

    def reader(self, settings: ProviderSettings) -> Reader:
        return StripeReader()

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        kind = type or self.sample_type
        return msgspec.json.encode(
            {
                "id": external_id or "evt_1SampleSurehook000001",
                "object": "event",
                "api_version": "2026-06-30.basil",
                "created": 1_790_000_000,
                "data": {
                    "object": {
                        "id": "in_1SampleSurehook000001",
                        "object": kind.partition(".")[0],
                        "amount_paid": 4200,
                        "currency": "eur",
                        "customer": "cus_SampleSurehook",
                    }
                },
                "livemode": False,
                "pending_webhooks": 1,
                "request": {"id": None, "idempotency_key": None},
                "type": kind,
            }
        )


def _key(secret: Secret) -> bytes:
    if secret.reveal().startswith(("sk_", "rk_", "pk_")):
        raise ConfigurationError(
            f"the secret {secret.reference} is a Stripe API key: the endpoint's signing secret (whsec_...) is needed"
        )
    return secret.encode()
