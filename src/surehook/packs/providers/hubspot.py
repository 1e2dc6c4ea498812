"""HubSpot: three versions of its signature; where several are sent the newest decides."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from surehook.config import ProviderSettings
from surehook.packs.address import Address
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.reader import JsonReader
from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.choice import ByHeader
from surehook.packs.schemes.keys import Key
from surehook.packs.schemes.layout import Layout, SignatureScheme
from surehook.packs.schemes.moments import MILLISECONDS
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge, Reader, Reading
from surehook.secrets import Secret

SIGNATURE: Final = "x-hubspot-signature"
VERSION: Final = "x-hubspot-signature-version"

#: What HubSpot's documentation says is decoded before the address is signed: : / ? @ ! $ ' ( ) * , ;
_DECODED = re.compile(r"%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)


class DecodedAddress(Address):
    """An address with some of its percent-escapes decoded, as the documentation of version 3 has it."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def of(self, request: Request | Draft) -> str:
        """The full URL that a request was sent to."""
        return _DECODED.sub(lambda escape: unquote(escape[0]), self._address.of(request))

    def differs(self, request: Request) -> bool:
        """Whether there is an escape to decode."""
        return _DECODED.search(self._address.of(request)) is not None


class NewestScheme:
    """Version 3: over the address as it came or, where that differs, with its escapes decoded."""

    def __init__(self, layout: Layout, keys: Sequence[Key], tolerance: int, address: Address | None) -> None:
        self._plain = SignatureScheme(layout, keys, tolerance, address)
        self._address = DecodedAddress(address) if address is not None else None
        self._decoded = SignatureScheme(layout, keys, tolerance, self._address)

    def verify(self, request: Request) -> str:
        try:
            return self._plain.verify(request)
        except BadSignature:
            if self._address is None or not self._address.differs(request):
                raise
        return self._decoded.verify(request)

    def sign(self, draft: Draft) -> Delivery:
        return self._plain.sign(draft)


class DigestScheme:
    """Versions 1 and 2: a plain SHA-256 of the secret and what follows it, without a time."""

    def __init__(self, secrets: Sequence[Secret], address: Address | None) -> None:
        self._begun = [(hashlib.sha256(secret.encode()), secret.reference) for secret in secrets]
        self._address = address

    def verify(self, request: Request) -> str:
        parts = self._parts(request, request.only(VERSION))
        given = request.only(SIGNATURE).encode("latin-1", "replace")
        for number, (_, reference) in enumerate(self._begun):
            if hmac.compare_digest(self._digest(number, parts), given):
                return reference
        raise BadSignature(f"no live secret made the signature in {SIGNATURE}", parts)

    def sign(self, draft: Draft) -> Delivery:
        signature = self._digest(0, self._parts(draft, "v2")).decode()
        return Delivery({SIGNATURE: signature, VERSION: "v2"}, draft.body, draft.query, draft.method)

    def _parts(self, about: Request | Draft, version: str) -> Sequence[bytes]:
        if version == "v1":
            return [about.body]
        if version == "v2" and self._address is not None:
            url = self._address.of(about).encode("latin-1", "replace")
            return [about.method.encode(), url, about.body]
        raise BadSignature(f"{VERSION} is neither v1 nor v2")

    def _digest(self, number: int, parts: Sequence[bytes]) -> bytes:
        digest = self._begun[number][0].copy()
        for part in parts:
            digest.update(part)
        return digest.hexdigest().encode()


class HubSpotReader(JsonReader):
    """A GET has no body: what it says stands in its query."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        return None if request.method == "GET" and not request.body else super().read(request, into)


class HubSpot(SignedPack):
    """``eventId``, the external id, is HubSpot's own, which says that it is not guaranteed to be unique.

    Version 3 signs a time, versions 1 and 2 do not: whoever has seen a request can send it again, and where version 3 comes
    along can leave that out. They are taken because some features of HubSpot sign with nothing else. Version 3 is accepted
    with the address as it came and with the escapes decoded that the documentation names, because HubSpot's own libraries do
    not decode them.
    """

    name = "hubspot"
    summary = "HubSpot webhooks of apps and workflows, signature versions 1 to 3, several events a request"
    docs_url = "https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests"
    certainty = "official library"
    proof = (
        "`x-hubspot-signature-v3`: HMAC-SHA256 over method, "
        "address, body and time, base64; else versions 1 and 2"
    )
    credential = "the app's client secret: Development, the app, Auth"
    signs_url = True
    #: The actions of cards on CRM records use all of them.
    methods = frozenset({"DELETE", "GET", "PATCH", "POST", "PUT"})
    layout = Layout(
        header="x-hubspot-signature-v3",
        signed="{method}{url}{body}{timestamp}",
        timestamp_header="x-hubspot-request-timestamp",
        unit=MILLISECONDS,
    )
    encoding = "base64"
    items = ""
    item = Reads(
        id="body:/eventId",
        type="body:/subscriptionType",
        subject="body:/objectId",
        occurred_at="body:/occurredAt",
    )
    example = ProviderSettings(url="https://hooks.example.com/webhooks/hubspot")
    sample_type = "contact.propertyChange"
    sample_body = [
        {
            "eventId": 531833541,
            "subscriptionId": 90897,
            "portalId": 62515,
            "appId": 54321,
            "occurredAt": 1_790_000_000_000,
            "subscriptionType": "contact.propertyChange",
            "attemptNumber": 0,
            "objectId": 1246965,
            "propertyName": "lifecyclestage",
            "propertyValue": "subscriber",
            "changeSource": "CRM",
        }
    ]

    def scheme(self, setup: Setup) -> Scheme:
        keys = [self.key(secret) for secret in setup.secrets]
        newest = NewestScheme(self.layout, keys, setup.tolerance(), setup.address)
        return ByHeader(
            [(self.layout.header, newest), (SIGNATURE, DigestScheme(setup.secrets, setup.address))]
        )

    def reader(self, settings: ProviderSettings) -> Reader:
        return HubSpotReader(self.reads, self.items, self.item)


PACK: Final[Pack] = HubSpot()
