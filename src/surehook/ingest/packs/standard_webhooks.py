"""Standard Webhooks (https://www.standardwebhooks.com): id, time and body are signed, by HMAC (v1) or Ed25519 (v1a)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Raw

from surehook.config import ProviderSettings
from surehook.errors import ConfigurationError
from surehook.ingest.packs.base import Challenge, Pack, Reader, Reading
from surehook.ingest.packs.reading import NOTHING, Document, decode, scalar
from surehook.ingest.signatures import (
    TOLERANCE,
    Ed25519Key,
    HmacKey,
    Key,
    Layout,
    Request,
    Scheme,
    SignatureScheme,
)
from surehook.secrets import Secret

LAYOUT = Layout(
    header="webhook-signature",
    signed="{id}.{timestamp}.{body}",
    separator=" ",
    timestamp_header="webhook-timestamp",
    id_header="webhook-id",
)


class _Event(msgspec.Struct, frozen=True):
    type: Raw = NOTHING
    timestamp: Raw = NOTHING


_EVENT = msgspec.json.Decoder(_Event)


class StandardReader(Reader):
    """The id of the header, which stays over retries; type and time of the body, which the specification recommends."""

    def read(self, request: Request, into: Reading) -> Challenge | None:
        into.id = request.only("webhook-id")
        try:
            event = decode(_EVENT, request.body)
        except msgspec.ValidationError:
            Document(request.body)  # an array, say: JSON all the same
            return None
        into.type = scalar(event.type)
        into.occurred_at = scalar(event.timestamp)
        return None


class StandardWebhooks(Pack):
    """Secrets: ``whsec_`` (HMAC; the prefix may be missing), ``whpk_`` (public key), ``whsk_`` (key pair)."""

    name = "standard-webhooks"
    summary = "any sender that follows Standard Webhooks, HMAC or Ed25519"
    docs_url = "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"
    settings = frozenset({"tolerance"})
    sample_type = "contact.created"

    def scheme(self, settings: ProviderSettings, secrets: Sequence[Secret]) -> Scheme:
        return SignatureScheme(LAYOUT, [_key(secret) for secret in secrets], settings.tolerance or TOLERANCE)

    def reader(self, settings: ProviderSettings) -> Reader:
        return StandardReader()

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        return msgspec.json.encode(
            {
                "type": type or self.sample_type,
                "timestamp": "2026-09-21T14:13:20.000Z",
                "data": {"id": "1f81eb52-5198-4599-803e-771906343485", "name": "Ada Lovelace"},
            }
        )


def _key(secret: Secret) -> Key:
    """The kind of key is the prefix's to say, never the request's: a public key is no HMAC secret."""
    text = secret.reveal()
    if text.startswith("whpk_"):
        public = Ed25519PublicKey.from_public_bytes(_decoded(secret, "whpk_", sizes=(32,)))
        return Ed25519Key(secret.reference, public, prefix="v1a,")
    if text.startswith("whsk_"):
        seed = _decoded(secret, "whsk_", sizes=(32, 64))[:32]  # the seed, then maybe the public key
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return Ed25519Key(secret.reference, private.public_key(), private, prefix="v1a,")
    return HmacKey(secret.reference, _decoded(secret, "whsec_"), encoding="base64", prefix="v1,")


def _decoded(secret: Secret, prefix: str, sizes: Sequence[int] = ()) -> bytes:
    encoded = secret.reveal().removeprefix(prefix).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key or (sizes and len(key) not in sizes):
        size = f" of {sizes[0]} bytes" if sizes else ""
        raise ConfigurationError(
            f"the secret {secret.reference} is malformed: {prefix} and base64{size} is needed, copied in full"
        )
    return key
