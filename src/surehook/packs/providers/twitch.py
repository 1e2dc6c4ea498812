"""Twitch EventSub: id, time and body are signed; what kind of message it is stands in a header that is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from surehook.config import ProviderSettings
from surehook.packs.handshakes import text_answer
from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.reader import JsonReader
from surehook.packs.reading import NOTHING, decode, scalar
from surehook.packs.request import Request
from surehook.packs.schemes.layout import Layout
from surehook.packs.schemes.moments import TIMESTAMP
from surehook.packs.signed import SignedPack
from surehook.packs.verdicts import Challenge, Reader, Reading

MESSAGE_TYPE: Final = "twitch-eventsub-message-type"
VERIFICATION: Final = "webhook_callback_verification"


class _Verification(msgspec.Struct, frozen=True):
    challenge: Raw = NOTHING


_VERIFICATION = msgspec.json.Decoder(_Verification)


class TwitchReader(JsonReader):
    """The challenge stands in the signed body, so a notification that is sent again as a handshake has none."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        super().read(request, into)
        if request.optional(MESSAGE_TYPE) != VERIFICATION:
            return None
        answer = scalar(decode(_VERIFICATION, request.body).challenge)
        return text_answer(answer, VERIFICATION) if answer else None


class Twitch(SignedPack):
    """A revocation is an event like others, of its subscription's type: ``subscription.status`` says why it ended.

    Twitch signs with the secret that you chose when you made the subscription: 10 to 100 ASCII characters.
    """

    name = "twitch"
    summary = "Twitch EventSub notifications and revocations; answers the callback verification"
    docs_url = "https://dev.twitch.tv/docs/eventsub/handling-webhook-events/"
    credential = "the secret that you gave as transport.secret when you made the subscription"
    layout = Layout(
        header="twitch-eventsub-message-signature",
        signed="{id}{timestamp}{body}",
        timestamp_header="twitch-eventsub-message-timestamp",
        unit=TIMESTAMP,
        id_header="twitch-eventsub-message-id",
    )
    prefix = "sha256="
    tolerance = 600
    reads = Reads(
        id="header:twitch-eventsub-message-id",
        type=("body:/subscription/type", "header:twitch-eventsub-subscription-type"),
        subject=(
            "body:/event/broadcaster_user_id",
            "body:/subscription/condition/broadcaster_user_id",
            "body:/subscription/id",
        ),
    )
    sample_type = "channel.follow"
    sample_body = {
        "subscription": {
            "id": "f1c2a387-161a-49f9-a165-0f21d7a4e1c4",
            "status": "enabled",
            "type": "channel.follow",
            "version": "2",
            "cost": 1,
            "condition": {"broadcaster_user_id": "12826", "moderator_user_id": "12826"},
            "transport": {"method": "webhook", "callback": "https://hooks.example.com/webhooks/twitch"},
            "created_at": "2026-09-21T14:00:00.634234626Z",
        },
        "event": {
            "user_id": "1337",
            "user_login": "ada",
            "user_name": "Ada",
            "broadcaster_user_id": "12826",
            "broadcaster_user_login": "sample",
            "broadcaster_user_name": "Sample",
            "followed_at": "2026-09-21T14:13:20.171817Z",
        },
    }

    def reader(self, settings: ProviderSettings) -> Reader:
        return TwitchReader(self.reads)

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        kind = {MESSAGE_TYPE: "notification", "twitch-eventsub-subscription-type": type}
        return super().headers(settings, external_id, type) | kind


PACK: Final[Pack] = Twitch()
