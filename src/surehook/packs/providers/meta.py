"""Meta (WhatsApp, Messenger, Instagram, Pages): several events a request, two lists deep, few of them with an id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from surehook.config import ProviderSettings
from surehook.packs.handshakes import text_answer
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.reader import check_count
from surehook.packs.reading import NOTHING, array, decode, parameter, require_single, scalar, within
from surehook.packs.request import BadSignature, Request
from surehook.packs.schemes.layout import Layout
from surehook.packs.schemes.shared import digests, match
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge, Reader, Reading
from surehook.pointers import write_pointer


class _Body(msgspec.Struct, frozen=True):
    object: Raw = NOTHING
    entry: Raw = NOTHING


class _Entry(msgspec.Struct, frozen=True):
    id: Raw = NOTHING
    time: Raw = NOTHING
    changes: Raw = NOTHING
    messaging: Raw = NOTHING
    standby: Raw = NOTHING


class _Value(msgspec.Struct, frozen=True):
    messages: Raw = NOTHING
    statuses: Raw = NOTHING


class _Change(msgspec.Struct, frozen=True):
    field: Raw = NOTHING
    value: Raw = NOTHING


class _WhatsApp(msgspec.Struct, frozen=True):
    """A message, or what became of one."""

    id: Raw = NOTHING
    timestamp: Raw = NOTHING
    status: Raw = NOTHING


class _Message(msgspec.Struct, frozen=True):
    mid: Raw = NOTHING
    is_echo: Raw = NOTHING
    is_deleted: Raw = NOTHING


_BODY = msgspec.json.Decoder(_Body)
_ENTRY = msgspec.json.Decoder(_Entry)
_CHANGE = msgspec.json.Decoder(_Change)
_VALUE = msgspec.json.Decoder(_Value)
_WHATSAPP = msgspec.json.Decoder(_WhatsApp)
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_MESSAGE = msgspec.json.Decoder(_Message)

_TRUE: Final = Raw(b"true")
#: The key that says what an item of ``messaging`` is, and the field that is subscribed for it.
_KINDS: Final = {
    "message": "messages",
    "message_edit": "message_edits",
    "postback": "messaging_postbacks",
    "delivery": "message_deliveries",
    "read": "message_reads",
    "reaction": "message_reactions",
    "referral": "messaging_referrals",
    "optin": "messaging_optins",
    "account_linking": "messaging_account_linking",
}


class MetaReader(Reader):
    """One event for each element of ``entry[].changes[]`` and ``entry[].messaging[]``; for an entry without them, one."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        body = decode(_BODY, request.body)
        into.type = scalar(body.object)
        entries = array(body.entry)
        if not entries:
            return None
        found: list[Reading] = []
        for number, entry in enumerate(entries):
            found += _entry(entry, number, into.type)
            check_count(found)
        return found


def _entry(raw: Raw, number: int, type: str | None) -> Sequence[Reading]:
    entry = within(_ENTRY, raw) or _Entry()
    around = Reading(None, type, scalar(entry.id), scalar(entry.time))
    found = [
        *_parts(entry.changes, ("entry", number, "changes"), around),
        *_parts(entry.messaging, ("entry", number, "messaging"), around),
        *_parts(entry.standby, ("entry", number, "standby"), around),
    ]
    if found:
        return found
    return [msgspec.structs.replace(around, part=write_pointer(("entry", number)), raw=bytes(raw))]


def _parts(items: Raw, path: tuple[str | int, ...], around: Reading) -> Sequence[Reading]:
    raws = array(items) or []
    check_count(raws)
    found = []
    for number, raw in enumerate(raws):
        reading = msgspec.structs.replace(around, part=write_pointer((*path, number)), raw=bytes(raw))
        fill = _change if path[-1] == "changes" else _messaging
        fill(raw, reading)
        if reading.id is None:  # a change may hold no time, and the next one be alike
            reading.raw = b"%b@%b" % (raw, (around.occurred_at or "").encode())
        found.append(reading)
    return found


def _change(raw: Raw, into: Reading) -> None:
    change = within(_CHANGE, raw) or _Change()
    into.type = scalar(change.field) or into.type
    value = within(_VALUE, change.value)
    if value is None or into.type != "messages":
        return
    messages, statuses = array(value.messages) or [], array(value.statuses) or []
    if len(messages) + len(statuses) == 1:
        _whatsapp((messages or statuses)[0], into)


def _whatsapp(raw: Raw, into: Reading) -> None:
    """A message's id is its own; what becomes of it is told under the same id, once for each state."""
    one = within(_WHATSAPP, raw) or _WhatsApp()
    if one.id is not NOTHING:
        require_single(bytes(raw), "id")
    at = scalar(one.timestamp)
    into.occurred_at = at or into.occurred_at
    id, status = scalar(one.id), scalar(one.status)
    into.id = ":".join([id, status, at or ""]) if id and status else id


def _messaging(raw: Raw, into: Reading) -> None:
    members = within(_MEMBERS, raw) or {}
    into.type = next((field for key, field in _KINDS.items() if key in members), "messaging")
    into.occurred_at = scalar(members.get("timestamp")) or into.occurred_at
    message = members.get("message", NOTHING)
    found = within(_MESSAGE, message)
    # an echo and a deletion tell of a message under its own id, which is that of another event
    if found is not None and _TRUE not in (found.is_echo, found.is_deleted) and found.mid is not NOTHING:
        require_single(bytes(message), "mid")
        into.id = scalar(found.mid)


class Meta(SignedPack):
    """WhatsApp's messages are known by their ``wamid``, those of Messenger and Instagram by their ``mid``.

    What becomes of a WhatsApp message is told under the id of that message, so state and time are added to it. Everything
    else has no id and is known by its bytes and the time of its entry. The handshake shows the verify token: set
    ``verify_token``, else any live secret is taken for it.
    """

    name = "meta"
    summary = "Meta webhooks of WhatsApp, Messenger, Instagram and Pages; answers the verification"
    docs_url = "https://developers.facebook.com/docs/graph-api/webhooks/getting-started"
    credential = "the app's secret: App Dashboard, App settings, Basic"
    settings = frozenset({"verify_token"})
    methods = frozenset({"GET", "POST"})
    layout = Layout(header="x-hub-signature-256")
    prefix = "sha256="
    reads = Reads(id="body:/entry/0/changes/0/value/messages/0/id", type="body:/entry/0/changes/0/field")
    sample_type = "messages"
    sample_body = {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": "102290129340398",
                "changes": [
                    {
                        "value": {
                            "messaging_product": "whatsapp",
                            "metadata": {
                                "display_phone_number": "15550783881",
                                "phone_number_id": "106540352242922",
                            },
                            "messages": [
                                {
                                    "from": "16505551234",
                                    "id": "wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0RgA=",
                                    "timestamp": "1790000000",
                                    "type": "text",
                                    "text": {"body": "Does it come in another colour?"},
                                }
                            ],
                        },
                        "field": "messages",
                    }
                ],
            }
        ],
    }

    def reader(self, settings: ProviderSettings) -> Reader:
        return MetaReader()

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        if request.method != "GET":
            return None
        challenge, shown = parameter(request, "hub.challenge"), parameter(request, "hub.verify_token")
        if parameter(request, "hub.mode") != "subscribe" or challenge is None or shown is None:
            raise BadSignature("a GET must be a verification: hub.mode, hub.challenge and hub.verify_token")
        tokens = setup.secrets if setup.verify_token is None else [setup.verify_token]
        try:
            match(shown.encode("utf-8", "replace").decode("latin-1"), digests(tokens), "hub.verify_token")
        except BadSignature:
            return Challenge(403, kind="verification")
        return text_answer(challenge, "verification")


PACK: Final[Pack] = Meta()
