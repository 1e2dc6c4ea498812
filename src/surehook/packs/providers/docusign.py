"""DocuSign Connect: one signature of the body for each live key, each in a header of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.reader import JsonReader
from surehook.packs.reading import is_xml
from surehook.packs.request import Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.several import SeveralHeaders
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge, Reader, Reading

#: An account has a hundred keys at most, and signs with each of them.
SIGNATURES: Final = tuple(f"x-docusign-signature-{number}" for number in range(1, 101))


class DocuSignReader(JsonReader):
    """XML, the older format, is stored as it is: nothing is read in it."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        return None if is_xml(request) else super().read(request, into)


class DocuSign(SignedPack):
    """The key looks like base64 and is used as text. One live key that matches any of the signatures is enough.

    Events have no id: the digest of the body stands for it. The body counts retries, so a retry that raises that number is
    another event: handlers should not mind. Choose JSON as the format: of XML neither type nor envelope is read, and its
    type is the topic. With documents in it a message may be large: set ``max_body``.
    """

    name = "docusign"
    summary = "DocuSign Connect, JSON (XML is stored unread)"
    docs_url = "https://developers.docusign.com/platform/webhooks/connect/validate/"
    certainty = "official formula"
    proof = "`x-docusign-signature-1` to `-100`: HMAC-SHA256 over body, base64"
    credential = "an HMAC key: Settings, Connect, Connect Keys; shown when it is made"
    encoding = "base64"
    reads = Reads(type="body:/event", occurred_at="body:/generatedDateTime", subject="body:/data/envelopeId")
    sample_type = "envelope-completed"
    sample_body = {
        "event": "envelope-completed",
        "apiVersion": "v2.1",
        "uri": "/restapi/v2.1/accounts/sample/envelopes/sample",
        "retryCount": 0,
        "configurationId": 10000001,
        "generatedDateTime": "2026-09-21T14:13:20.0000000Z",
        "data": {
            "accountId": "7a1f3b52-0f0c-4d8e-9a51-3d8d0f7a4c52",
            "userId": "92e993a1-ccea-4bb3-9a2f-1d8a5a5f35b1",
            "envelopeId": "36fc3e6e-9d06-4e0e-a7a5-9d1c7a4dd9b9",
        },
    }

    def scheme(self, setup: Setup) -> Scheme:
        return SeveralHeaders(SIGNATURES, [self.key(secret) for secret in setup.secrets])

    def reader(self, settings: ProviderSettings) -> Reader:
        return DocuSignReader(self.reads)

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        return {"x-authorization-digest": "HMACSHA256"}


PACK: Final[Pack] = DocuSign()
