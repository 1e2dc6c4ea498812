"""Contentful: a canonical request is signed, with the headers that the sender names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from surehook.config import ProviderSettings
from surehook.errors import ConfigurationError
from surehook.packs.address import Address
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.reader import JsonReader
from surehook.packs.reading import is_json
from surehook.packs.request import BadSignature, Delivery, Draft, Request
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.keys import HmacKey, Key
from surehook.packs.schemes.layout import check_time
from surehook.packs.schemes.moments import MILLISECONDS
from surehook.packs.verdicts import Challenge, Reader, Reading

SIGNATURE: Final = "x-contentful-signature"
SIGNED_HEADERS: Final = "x-contentful-signed-headers"
TIMESTAMP: Final = "x-contentful-timestamp"
TOPIC: Final = "x-contentful-topic"
ID: Final = "x-contentful-idempotency-key"

#: Contentful signs some ten headers; users may add their own.
_MOST_HEADERS = 100
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_ORIGIN = re.compile(r"https?://[^/?]*")
#: What JavaScript's ``encodeURIComponent`` and ``encodeURI`` leave as it is, besides letters, digits and ``_.-~``.
_COMPONENT: Final = "!*'()"
_URI: Final = ";,/?:@&=+$!*'()#"


class CanonicalScheme:
    """HMAC-SHA256 over method, path, the named headers and the body, each on a line.

    The time and the list of names itself must be among those headers: else anyone could change them.
    """

    def __init__(self, keys: Sequence[Key], tolerance: int, address: Address | None) -> None:
        if address is None:
            raise ConfigurationError(
                "the path is signed: say where the sender posts to with server.public_url or url"
            )
        self._keys = keys
        self._tolerance = tolerance * 1000
        self._address = address

    def verify(self, request: Request) -> str:
        signature = request.only(SIGNATURE).encode("latin-1", "replace")
        names = _names(request.only(SIGNED_HEADERS))
        values = {name: request.only(name).strip() for name in names} | {SIGNED_HEADERS: ",".join(names)}
        check_time(MILLISECONDS.read(values[TIMESTAMP]), request, self._tolerance)
        parts = self._parts(request, values)
        for key in self._keys:
            if key.matches(parts, [signature]):
                return key.reference
        raise BadSignature(f"no live secret made the signature in {SIGNATURE}", parts)

    def sign(self, draft: Draft) -> Delivery:
        names = sorted([SIGNED_HEADERS, TIMESTAMP, TOPIC])
        stamp = MILLISECONDS.write(draft.now)
        values = {SIGNED_HEADERS: ",".join(names), TIMESTAMP: stamp, TOPIC: draft.type}
        signature = self._keys[0].sign(self._parts(draft, values)).decode()
        return Delivery(values | {SIGNATURE: signature}, draft.body, draft.query, draft.method)

    def _parts(self, about: Request | Draft, values: Mapping[str, str]) -> Sequence[bytes]:
        signed = ";".join([f"{name}:{value}" for name, value in sorted(values.items())])
        lines = f"{about.method}\n{_path(self._address.of(about))}\n{signed}\n"
        return [lines.encode("latin-1", "replace"), about.body]


def _names(text: str) -> Sequence[str]:
    """The names of the signed headers, in the order in which they are signed."""
    names = sorted(text.split(","))
    if len(names) > _MOST_HEADERS or len(set(names)) < len(names):
        raise BadSignature(f"{SIGNED_HEADERS} names too many headers, or one of them twice")
    if not {SIGNED_HEADERS, TIMESTAMP} <= set(names) or not all(map(_HEADER_NAME.fullmatch, names)):
        raise BadSignature(f"{SIGNED_HEADERS} must name {TIMESTAMP} and itself, in lower case")
    return names


def _path(url: str) -> str:
    """Path and query as Contentful's own library writes them: the query ends up escaped twice."""
    path, _, rest = _ORIGIN.sub("", url, count=1).partition("?")
    query = quote(rest.partition("?")[0].encode("latin-1", "replace"), safe=_COMPONENT)
    return quote(f"{path or '/'}?{query}" if query else path or "/", safe=_URI)


class ContentfulReader(JsonReader):
    """Webhooks may be set up to send a form, or nothing: then only the headers tell."""

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        if is_json(request):
            return super().read(request, into)
        into.id, into.type = request.optional(ID), request.optional(TOPIC)
        return None


class Contentful(Pack):
    """A delivery older than 30 seconds is refused.

    ``X-Contentful-Idempotency-Key``, the external id, is often not among the signed headers. Method and path are signed, so
    both the webhook's method and its address must be those that Contentful has.
    """

    name = "contentful"
    summary = "Contentful webhooks, signed by request verification"
    docs_url = "https://www.contentful.com/developers/docs/webhooks/request-verification/"
    certainty = "official library"
    proof = "`x-contentful-signature`: HMAC-SHA256 over method, path, named headers and body, hex"
    credential = (
        "the signing secret of 64 characters: space settings, Webhooks, Settings, request verification"
    )
    settings = frozenset({"tolerance", "url"})
    id_is_signed = False
    signs_url = True
    methods = frozenset({"DELETE", "GET", "PATCH", "POST", "PUT"})
    reads = Reads(
        id=f"header:{ID}",
        type=f"header:{TOPIC}",
        subject="body:/sys/id",
        occurred_at=("body:/sys/deletedAt", "body:/sys/updatedAt", "header:x-contentful-event-datetime"),
    )
    example = ProviderSettings(url="https://hooks.example.com/webhooks/contentful")
    sample_type = "ContentManagement.Entry.publish"
    sample_body = {
        "sys": {
            "type": "Entry",
            "id": "5KsDBWseXY6QegucYAoacS",
            "space": {"sys": {"type": "Link", "linkType": "Space", "id": "cfexampleapi"}},
            "environment": {"sys": {"id": "master", "type": "Link", "linkType": "Environment"}},
            "revision": 4,
            "createdAt": "2026-09-20T09:00:00.000Z",
            "updatedAt": "2026-09-21T14:13:20.000Z",
        },
        "fields": {"title": {"en-US": "Copper lantern"}},
    }

    def scheme(self, setup: Setup) -> Scheme:
        keys = [HmacKey(secret.reference, secret.encode()) for secret in setup.secrets]
        return CanonicalScheme(keys, setup.tolerance(30), setup.address)

    def reader(self, settings: ProviderSettings) -> Reader:
        return ContentfulReader(self.reads)


PACK: Final[Pack] = Contentful()
