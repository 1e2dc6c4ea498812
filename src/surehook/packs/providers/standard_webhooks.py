"""Standard Webhooks (https://www.standardwebhooks.com): id, time and body are signed, by HMAC (v1) or Ed25519 (v1a)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from surehook.config import ProviderSettings
from surehook.packs.pack import Certainty, Pack
from surehook.packs.places import Reads
from surehook.packs.reader import JsonReader
from surehook.packs.reading import require_json
from surehook.packs.request import Request
from surehook.packs.schemes.keys import Ed25519Key, HmacKey, Key
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack, base64_key
from surehook.packs.verdicts import Challenge, Reader, Reading
from surehook.secrets import Secret


class StandardReader(JsonReader):
    """The body need not be an object: the specification only recommends what stands in it."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        try:
            return super().read(request, into)
        except msgspec.ValidationError:
            require_json(request.body)  # an array, say: JSON all the same
            return None


class StandardWebhooks(SignedPack):
    """Secrets: ``whsec_`` (HMAC; the prefix may be missing), ``whpk_`` (public key), ``whsk_`` (key pair)."""

    name = "standard-webhooks"
    summary = "any sender that follows Standard Webhooks, HMAC or Ed25519"
    docs_url = "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"
    certainty: ClassVar[Certainty] = "official library"
    credential = "the endpoint's secret: whsec_... (HMAC) or the sender's public key, whpk_..."
    proof = "`webhook-signature`: HMAC-SHA256 or Ed25519 over id, time and body, base64 after `v1,` or `v1a,`"
    layout = Layout(
        header="webhook-signature",
        signed="{id}.{timestamp}.{body}",
        separator=" ",
        timestamp_header="webhook-timestamp",
        id_header="webhook-id",
    )
    #: The id stays over retries; the time of the header is that of the attempt.
    reads = Reads(id="header:webhook-id", type="body:/type", occurred_at="body:/timestamp")
    sample_type = "contact.created"
    sample_body = {
        "type": "contact.created",
        "timestamp": "2026-09-21T14:13:20.000Z",
        "data": {"id": "1f81eb52-5198-4599-803e-771906343485", "name": "Ada Lovelace"},
    }

    def reader(self, settings: ProviderSettings) -> Reader:
        return StandardReader(self.reads)

    def key(self, secret: Secret) -> Key:
        """The kind of key is the prefix's to say, never the request's: a public key is no HMAC secret."""
        text = secret.reveal()
        if text.startswith("whpk_"):
            public = Ed25519PublicKey.from_public_bytes(base64_key(secret, "whpk_", sizes=(32,)))
            return Ed25519Key(secret.reference, public, prefix="v1a,")
        if text.startswith("whsk_"):
            seed = base64_key(secret, "whsk_", sizes=(32, 64))[:32]  # the seed, then maybe the public key
            private = Ed25519PrivateKey.from_private_bytes(seed)
            return Ed25519Key(secret.reference, private.public_key(), private, prefix="v1a,")
        return HmacKey(secret.reference, base64_key(secret, "whsec_"), encoding="base64", prefix="v1,")


PACK: Final[Pack] = StandardWebhooks()
