"""Mollie's classic webhooks: the id of a payment and nothing else, not signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack, Setup
from surehook.packs.reading import form
from surehook.packs.request import Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.shared import NoScheme
from surehook.packs.verdicts import Challenge, Reader, Reading


class MollieReader(Reader):
    """The resource that changed is what an event is about: its id is not that of the event."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        into.subject = form(request.body).get("id") or None
        if into.subject is None:
            raise ValueError("the form has no field id")
        return None


class MollieClassic(Pack):
    """Nothing is signed and nothing is told but an id, such as ``tr_...``: fetch it from Mollie's API and believe only that.

    Every change of a payment sends the same body: each delivery is an event, so a repeated one runs again, and handlers must
    not mind. There is no type: it is the topic of the URL. Since anyone can post ids, it must be written out:
    ``pack = "mollie-classic"``.
    """

    name = "mollie-classic"
    summary = "Mollie payment webhooks (id=tr_...), which are not signed"
    docs_url = "https://docs.mollie.com/reference/webhooks"
    certainty = "official formula"
    proof = "none: whoever reaches the port is believed"
    credential = "none"
    needs_secrets = False
    bodies_repeat = True
    sample_type = "mollie-classic"

    def scheme(self, setup: Setup) -> Scheme:
        return NoScheme()

    def reader(self, settings: ProviderSettings) -> Reader:
        return MollieReader()

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        return {"content-type": "application/x-www-form-urlencoded"}

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        return urlencode({"id": f"tr_{external_id or 'SampleSurehook0001'}"}).encode()


PACK: Final[Pack] = MollieClassic()
