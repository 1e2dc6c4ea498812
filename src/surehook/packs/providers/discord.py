"""Discord: interactions and webhook events, both signed with the application's Ed25519 key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.reader import JsonReader
from surehook.packs.reading import NOTHING, decode, is_object, scalar
from surehook.packs.request import Request
from surehook.packs.schemes.keys import Key
from surehook.packs.schemes.layout import Layout
from surehook.packs.schemes.public_keys import ed25519_key
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge, Reader, Reading
from surehook.secrets import Secret


class _Typed(msgspec.Struct, frozen=True):
    type: Raw = NOTHING
    event: Raw = NOTHING


_TYPED = msgspec.json.Decoder(_Typed)
_EVENT_PING = Challenge(204, kind="ping of webhook events")
_INTERACTION_PING = Challenge(200, b'{"type":1}', "application/json", kind="ping of interactions")


class DiscordReader(JsonReader):
    """A type is a number whose meaning depends on whether there is an event beside it."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        super().read(request, into)
        found = decode(_TYPED, request.body)
        if is_object(found.event):
            return None
        kind = scalar(found.type)
        if kind in ("0", "1"):
            return _EVENT_PING if kind == "0" else _INTERACTION_PING
        into.type = None if kind is None else f"interaction.{kind}"
        return None


class Discord(SignedPack):
    """Webhook events carry no id, so equal bodies are one event; an interaction's type is ``interaction.2`` and so on.

    Everything is answered with 204, as webhook events want it. Discord shows the user of an interaction an error then: for
    an endpoint of interactions set ``response_status = 200`` and ``response_body = '{"type":5}'`` (a deferred answer) and
    let a handler follow up within 15 minutes. Webhook events are repeated for ten minutes, so a signed time may differ by
    fifteen. To save the address, Discord sends pings with good and with bad signatures; both are answered as it wants.
    """

    name = "discord"
    summary = "Discord webhook events and interactions"
    docs_url = "https://docs.discord.com/developers/events/webhook-events"
    certainty = "official library"
    proof = "`x-signature-ed25519`: Ed25519 over time and body, hex"
    handshake = "answers pings, signed"
    credential = "the application's public key (hex): Developer Portal, the application, General Information"
    tolerance = 900
    response = (204, b"", "text/plain")
    layout = Layout(
        header="x-signature-ed25519",
        signed="{timestamp}{body}",
        timestamp_header="x-signature-timestamp",
    )
    reads = Reads(
        id="body:/id",
        type="body:/event/type",
        subject=("body:/event/data/user/id", "body:/guild_id"),
        occurred_at="body:/event/timestamp",
    )
    sample_type = "APPLICATION_AUTHORIZED"
    sample_body = {
        "version": 1,
        "application_id": "1234560123453231555",
        "type": 1,
        "event": {
            "type": "APPLICATION_AUTHORIZED",
            "timestamp": "2026-09-21T14:13:20.000000",
            "data": {
                "integration_type": 1,
                "scopes": ["applications.commands"],
                "user": {"id": "53908232506183680", "username": "mason"},
            },
        },
    }

    def sample(self, type: str | None = None, *, external_id: str | None = None) -> bytes:
        """Without an id, as webhook events are."""
        return super().sample(type)

    def reader(self, settings: ProviderSettings) -> Reader:
        return DiscordReader(self.reads)

    def key(self, secret: Secret) -> Key:
        return ed25519_key(secret, encoding="hex")


PACK: Final[Pack] = Discord()
