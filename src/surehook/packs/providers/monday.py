"""monday.com: a JWT in the header ``authorization``, which does not cover the body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from surehook.config import ProviderSettings
from surehook.packs.address import Address
from surehook.packs.handshakes import json_answer
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.reading import FAULTS, decode
from surehook.packs.request import Delivery, Draft, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.jwt import check_audience, check_times, verify_compact, write_compact
from surehook.packs.schemes.keys import HmacKey, Key
from surehook.packs.verdicts import Challenge

HEADER: Final = "authorization"
ALGORITHM: Final = "HS256"
#: Seconds for which monday.com's tokens are valid.
_LIFETIME: Final = 300
#: Bytes of a handshake; monday.com's are a tenth of it.
_LONGEST_CHALLENGE: Final = 1024


class _Challenge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    challenge: str


_CHALLENGE = msgspec.json.Decoder(_Challenge)


class TokenScheme:
    """The token alone, without ``Bearer``; where the address is known the token must be meant for it."""

    def __init__(self, keys: Sequence[Key], address: Address | None) -> None:
        self._keys = keys
        self._address = address

    def verify(self, request: Request) -> str:
        claims, reference = verify_compact(request.only(HEADER), ALGORITHM, self._keys)
        check_times(claims, request.now)
        if self._address is not None:
            url = self._address.of(request)
            check_audience(claims, {url, url.partition("?")[0]})
        return reference

    def sign(self, draft: Draft) -> Delivery:
        issued = draft.now // 1000
        claims: dict[str, object] = {"accountId": 1, "userId": 2, "iat": issued, "exp": issued + _LIFETIME}
        if self._address is not None:
            claims["aud"] = self._address.of(draft)
        token = write_compact(claims, ALGORITHM, self._keys[0])
        return Delivery({HEADER: token}, draft.body, draft.query, draft.method)


class Monday(Pack):
    """Only webhooks of an app carry a token; those made with a personal API token are not signed at all and are refused.

    The token proves who sends, not that the body is unchanged. Where ``server.public_url`` or ``url`` is set, the token must
    name it as its audience. The challenge is not signed: it is answered to anyone, as JSON. One trigger has one
    ``triggerUuid``, the external id, also where several webhooks of yours tell of it: give each a provider of its own.
    """

    name = "monday"
    summary = "monday.com webhooks of apps; answers the URL challenge"
    docs_url = "https://developer.monday.com/apps/docs/authorization-header"
    proof = "`authorization`: a JWT (HS256)"
    credential = "the app's signing secret: Developer Center, the app, Basic Information"
    settings = frozenset({"url"})
    reads = Reads(
        id="body:/event/triggerUuid",
        type="body:/event/type",
        subject=("body:/event/pulseId", "body:/event/boardId"),
        occurred_at="body:/event/triggerTime",
    )
    example = ProviderSettings(url="https://hooks.example.com/webhooks/monday")
    sample_type = "create_pulse"
    sample_body = {
        "event": {
            "app": "monday",
            "type": "create_pulse",
            "triggerTime": "2026-09-21T14:13:20.000Z",
            "subscriptionId": 73759690,
            "userId": 9603417,
            "boardId": 1771812698,
            "pulseId": 1772099344,
            "pulseName": "Mend the build",
            "groupId": "topics",
            "triggerUuid": "645fc8d8709d35718f1ae00ceded91e9",
        }
    }

    def scheme(self, setup: Setup) -> Scheme:
        keys = [HmacKey(each.reference, each.encode(), encoding="base64") for each in setup.secrets]
        return TokenScheme(keys, setup.address)

    def greet(self, request: Request, setup: Setup) -> Challenge | None:
        if len(request.body) > _LONGEST_CHALLENGE:
            return None
        try:
            text = decode(_CHALLENGE, request.body).challenge
        except FAULTS:
            return None
        return json_answer({"challenge": text}, "challenge")

    def proof_headers(self, settings: ProviderSettings) -> frozenset[str]:
        return frozenset({"authorization"})


PACK: Final[Pack] = Monday()
