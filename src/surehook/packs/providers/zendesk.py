"""Zendesk: events in a format of its own, or whatever the author of a trigger has thought of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.reader import JsonReader
from surehook.packs.reading import NOTHING, is_json, require_json, within
from surehook.packs.request import Request
from surehook.packs.schemes.layout import Layout
from surehook.packs.schemes.moments import TIMESTAMP
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge, Reader, Reading

INVOCATION: Final = "x-zendesk-webhook-invocation-id"


class _Marked(msgspec.Struct, frozen=True):
    zendesk_event_version: Raw = NOTHING


_MARKED = msgspec.json.Decoder(_Marked)


class ZendeskReader(JsonReader):
    """Only in Zendesk's own events ``id`` is an event's: the ``id`` in a trigger's body is mostly a ticket's."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        into.id = request.optional(INVOCATION)
        if not is_json(request) or (request.method != "POST" and not request.body):
            return None
        marked = within(_MARKED, require_json(request.body))
        if marked is None or marked.zendesk_event_version is NOTHING:
            return None
        return super().read(request, into)


class Zendesk(SignedPack):
    """The secret looks like base64 and is used as text. Until a webhook is saved, its tests are signed with another one.

    Webhooks of events have an id and a type. Those of triggers and automations hold what their author wrote, in any format,
    by any method, perhaps nothing: their external id is that of the invocation, their type the topic of the URL. The address
    is not signed and its query not kept: put what matters into the body.
    """

    name = "zendesk"
    summary = "Zendesk webhooks of events, triggers and automations"
    docs_url = "https://developer.zendesk.com/documentation/webhooks/verifying/"
    certainty = "official formula"
    credential = "the webhook's signing secret: Admin Center, Apps and integrations, Webhooks, Reveal secret"
    #: An event's id is signed, an invocation's is not. It counts as if it were: triggers send equal bodies of different
    #: events, so one that comes again under another id proves no replay, and the signed time leaves little room for one.
    id_is_signed = True
    methods = frozenset({"POST", "GET", "PUT", "PATCH", "DELETE"})
    layout = Layout(
        header="x-zendesk-webhook-signature",
        signed="{timestamp}{body}",
        timestamp_header="x-zendesk-webhook-signature-timestamp",
        unit=TIMESTAMP,
    )
    encoding = "base64"
    reads = Reads(id="body:/id", type="body:/type", occurred_at="body:/time", subject="body:/subject")
    sample_type = "zen:event-type:ticket.created"
    sample_body = {
        "account_id": 1234567,
        "detail": {
            "id": "35436",
            "subject": "The printer is on fire",
            "status": "OPEN",
            "priority": "URGENT",
        },
        "event": {},
        "id": "2b24ef10-19d2-4740-93cf-0f98ec4776c0",
        "subject": "zen:ticket:35436",
        "time": "2026-09-21T14:13:20.000Z",
        "type": "zen:event-type:ticket.created",
        "zendesk_event_version": "2022-11-06",
    }

    def reader(self, settings: ProviderSettings) -> Reader:
        return ZendeskReader(self.reads)

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        return {INVOCATION: external_id}


PACK: Final[Pack] = Zendesk()
