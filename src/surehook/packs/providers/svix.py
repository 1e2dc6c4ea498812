"""Svix, which sends for many: Standard Webhooks under the header names ``svix-*``, or unbranded as ``webhook-*``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.providers.standard_webhooks import StandardReader, StandardWebhooks
from surehook.packs.request import Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.choice import ByHeader
from surehook.packs.schemes.layout import Layout, SignatureScheme
from surehook.packs.verdicts import Challenge, Reader, Reading

#: Also of those who send through Svix under their own name.
SVIX: Final = Layout(
    header="svix-signature",
    signed="{id}.{timestamp}.{body}",
    separator=" ",
    timestamp_header="svix-timestamp",
    id_header="svix-id",
)


class SvixReader(StandardReader):
    """The id is that of the headers that were verified: the same one under the other name is not signed."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        branded = request.header(SVIX.header) is not None
        into.id = request.optional("svix-id" if branded else "webhook-id")
        return super().read(request, into)


class Svix(StandardWebhooks):
    """Senders may turn the brand in the header names off, so both are taken; where both are there, ``svix-*`` decides."""

    name = "svix"
    summary = "any sender that uses Svix, branded or not"
    docs_url = "https://docs.svix.com/receiving/verifying-payloads/how"
    credential = "the endpoint's signing secret (whsec_...): the sender's portal, Endpoints, the endpoint"
    layout = SVIX
    reads = Reads(id="header:svix-id", type="body:/type", occurred_at="body:/timestamp")

    def scheme(self, setup: Setup) -> Scheme:
        keys = [self.key(secret) for secret in setup.secrets]
        return ByHeader(
            [
                (layout.header, SignatureScheme(layout, keys, setup.tolerance(self.tolerance)))
                for layout in (SVIX, StandardWebhooks.layout)
            ]
        )

    def reader(self, settings: ProviderSettings) -> Reader:
        return SvixReader(msgspec.structs.replace(self.reads, id=()))


PACK: Final[Pack] = Svix()
