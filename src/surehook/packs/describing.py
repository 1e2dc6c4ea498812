"""Packs in words, made from what they declare: for the command line, and for the page that lists them all."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from surehook.config import ProviderSettings
from surehook.packs.catalogue import PACKS
from surehook.packs.pack import Certainty, Pack
from surehook.packs.places import Joined, Place, Source, places_of
from surehook.packs.reader import JsonReader
from surehook.packs.schemes.layout import TOLERANCE, Layout
from surehook.packs.schemes.moments import MILLISECONDS, SECONDS, TIMESTAMP, Unit
from surehook.packs.signed import SignedPack
from surehook.pointers import write_pointer

#: How sure it is that a pack verifies what its sender signs, each in a sentence.
CERTAINTY: Final[Mapping[Certainty, str]] = {
    "official library": "tried against requests that the sender's own library has judged",
    "official example": "tried against a delivery or an example that the sender has published",
    "official formula": "made by the formula in the sender's documentation; no library was there to ask",
    "quoted formula": "made by the sender's formula as others quote it: try it before you rely on it",
}

_PARTS: Final = {"body": "body", "timestamp": "time", "id": "id", "url": "address", "method": "method"}
_UNITS: Final[Mapping[Unit, str]] = {
    SECONDS: "seconds",
    MILLISECONDS: "milliseconds",
    TIMESTAMP: "RFC 3339",
}
_HEADINGS: Final = (
    "Pack",
    "Sender",
    "Proof",
    "External id",
    "Type",
    "Handshake",
    "Certainty",
    "Documentation",
)


class Description(msgspec.Struct, frozen=True):
    """One pack in words."""

    name: str
    summary: str
    #: How a request proves where it comes from.
    proof: str
    id: str
    type: str
    handshake: str
    certainty: Certainty
    documentation: str


def describe(pack: Pack) -> Description:
    """What a pack declares, in words. Code spans are marked as in Markdown."""
    return Description(
        name=pack.name,
        summary=pack.summary,
        proof=pack.proof or _proof(pack),
        id=_id(pack),
        type=_type(pack),
        handshake=pack.handshake or _handshake(pack),
        certainty=pack.certainty,
        documentation=pack.docs_url,
    )


def describe_all() -> list[Description]:
    """Every pack of the catalogue, by name."""
    return [describe(PACKS[name]) for name in sorted(PACKS)]


def markdown_table(descriptions: Iterable[Description]) -> str:
    """The table of ``docs/providers.md``, with an end of line at its end."""
    rows = [_HEADINGS, ["---"] * len(_HEADINGS), *map(_row, descriptions)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def plain(one: Description) -> Description:
    """The same without the marks of code spans."""
    words = {name: getattr(one, name).replace("`", "") for name in one.__struct_fields__}
    return msgspec.structs.replace(one, **words)


def tolerance_of(pack: Pack, settings: ProviderSettings) -> int | None:
    """Seconds by which a signed time may differ; None where no time is signed."""
    signs_time = "tolerance" in pack.settings and (
        "timestamp_header" not in pack.settings or settings.timestamp_header is not None
    )
    own = getattr(pack, "tolerance", None)
    return (settings.tolerance or own or TOLERANCE) if signs_time else None


def about(pack: Pack) -> str:
    """What a user must know of it: the first paragraph of its documentation string, on one line."""
    text = inspect.getdoc(type(pack)) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _row(one: Description) -> list[str]:
    link = f"[{one.documentation.split('/')[2]}]({one.documentation})"
    cells = [f"`{one.name}`", one.summary, one.proof, one.id, one.type, one.handshake, one.certainty]
    return [cell.replace("|", "\\|") for cell in [*cells, link]]


def _proof(pack: Pack) -> str:
    usual = isinstance(pack, SignedPack) and getattr(pack, "layout", None) is not None
    if not isinstance(pack, SignedPack) or not usual or _has_own(pack, "key", "scheme"):
        return "a scheme of its own"
    layout = pack.layout
    prefix = f" after `{pack.prefix}`" if pack.prefix else ""
    algorithm = f"HMAC-{pack.algorithm.upper()}"
    return f"`{layout.header}`: {algorithm} over {_covered(layout)}, {pack.encoding}{prefix}"


def _has_own(pack: Pack, *methods: str) -> bool:
    """Whether it does one of these otherwise than its kind: then what it declares is not all there is to say."""
    return any(getattr(type(pack), name) is not getattr(SignedPack, name) for name in methods)


def _covered(layout: Layout) -> str:
    """What is signed, in the order in which it is: ``time and body``."""
    stands = {layout.signed.find(f"{{{part}}}"): word for part, word in _PARTS.items()}
    words = [word for place, word in sorted(stands.items()) if place >= 0]
    unit = _UNITS.get(layout.unit, "")
    words = [f"{word} ({unit})" if word == "time" and layout.unit is not SECONDS else word for word in words]
    return _listed(words)


def _reads(pack: Pack, name: str) -> Source:
    """Where something stands: in each of several events, or else in the request."""
    of_item: Source = getattr(pack.item, name) if pack.items is not None else ()
    found: Source = of_item or getattr(pack.reads, name)
    return found


def _id(pack: Pack) -> str:
    words = _source(_reads(pack, "id"))
    if pack.items is not None and pack.item.id:
        words += " of each event"
    if not words:
        return _without_id(pack)
    return words if pack.id_is_signed else f"{words}, which is not signed"


def _type(pack: Pack) -> str:
    own = _source(_reads(pack, "type")) or ("`type`" if "type" in pack.settings else "")
    return own or "the topic, else the provider's name"


def _without_id(pack: Pack) -> str:
    if pack.bodies_repeat:
        return "none: each delivery is an event"
    if "id" in pack.settings:
        return "`id`, else `idempotency-key`, else the hash of the body"
    if type(pack).reader is not Pack.reader and not isinstance(pack.reader(pack.example), JsonReader):
        return "put together by the pack"
    return f"none: the hash of {'the body' if pack.items is None else 'each event'}"


def _handshake(pack: Pack) -> str:
    others = _listed(sorted(pack.methods - {"POST"}))
    if type(pack).greet is Pack.greet:
        return f"none; {others} too" if others else "none"
    return f"{others}, answered without a signature" if others else "an unsigned POST is answered"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _source(source: Source) -> str:
    words = [_place(place) for place in places_of(source)]
    if isinstance(source, Joined):
        return f" `{source.by}` ".join(words)
    return ", else ".join(words)


def _place(place: Place) -> str:
    return f"header `{place.header}`" if place.header else f"`{write_pointer(place.path)}`"
