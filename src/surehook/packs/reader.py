"""The reader of JSON whose places are known: one pass over the body, no deeper than the places are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from surehook.packs.places import FIELDS, Joined, Place, Reads, Source, places_of
from surehook.packs.reading import (
    FAULTS,
    NOTHING,
    array,
    is_json,
    is_object,
    require_json,
    require_single,
    scalar,
    utf8,
)
from surehook.packs.request import Request
from surehook.packs.verdicts import Challenge, Reader, Reading
from surehook.pointers import parse_pointer, write_pointer

#: The most events that one request may hold. Known senders stay below a thousand.
MOST_ITEMS = 10_000

#: What was found, by the number of its place.
Found = list[str | None]


class Tree:
    """The paths that are looked for below one object: decoded in one pass, and only as far as they go.

    Where something has another shape than the paths expect, which is rare, level by level.
    """

    def __init__(self, paths: Sequence[tuple[tuple[str, ...], int]]) -> None:
        heads = list(dict.fromkeys(path[0] for path, _ in paths))
        members = [([n for path, n in paths if path == (head,)], _below(paths, head)) for head in heads]
        #: For each member where it goes, if it is looked for itself, and what is looked for below it.
        self._members = members
        self._levels = _decoder(heads, [Raw] * len(heads))
        kinds = [below.kind if below and not numbers else Raw for numbers, below in members]
        self._whole = _decoder(heads, kinds)
        self.kind: type[msgspec.Struct] = self._whole.type

    def find(self, value: bytes | Raw, into: list[Raw]) -> None:
        """Put what stands at the paths below this object where it goes. Raises ValidationError when it is no object."""
        try:
            found = self._whole.decode(value)
        except msgspec.ValidationError:
            found = self._levels.decode(value)
        self._take(found, into)

    def _take(self, level: msgspec.Struct, into: list[Raw]) -> None:
        for found, (numbers, below) in zip(msgspec.structs.astuple(level), self._members, strict=True):
            if found is NOTHING:
                continue
            for number in numbers:
                into[number] = found
            if below is not None:
                below._descend(found, into)

    def _descend(self, found: Raw | msgspec.Struct, into: list[Raw]) -> None:
        if isinstance(found, msgspec.Struct):
            self._take(found, into)
            return
        try:
            self.find(found, into)
        except msgspec.ValidationError:  # it is no object, so nothing stands below
            return


def _below(paths: Sequence[tuple[tuple[str, ...], int]], head: str) -> Tree | None:
    rest = [(path[1:], number) for path, number in paths if path[0] == head and len(path) > 1]
    return Tree(rest) if rest else None


def _decoder(keys: Sequence[str], kinds: Sequence[Any]) -> msgspec.json.Decoder[msgspec.Struct]:
    fields = [(f"f{number}", kind, msgspec.field(default=NOTHING)) for number, kind in enumerate(kinds)]
    names = {f"f{number}": key for number, key in enumerate(keys)}
    struct: type[msgspec.Struct] = msgspec.defstruct("Level", fields, frozen=True, gc=False, rename=names)
    return msgspec.json.Decoder(struct)


class Sight:
    """Reads as they are used: what to look up in headers, what to find in a body."""

    def __init__(self, reads: Reads) -> None:
        sources: Mapping[str, Source] = {name: getattr(reads, name) for name in FIELDS}
        places = list(dict.fromkeys(place for source in sources.values() for place in places_of(source)))
        exact = [place.path for place in places_of(reads.id) if place.header is None]
        # what an id stands in is looked for as well: a key on its way that is there twice makes the id ambiguous
        parents = [path[:depth] for path in exact for depth in range(1, len(path))]
        places += [place for place in map(_at, dict.fromkeys(parents)) if place not in places]
        numbers = {place: number for number, place in enumerate(places)}
        self._count = len(places)
        self._headers = [(number, place.header) for place, number in numbers.items() if place.header]
        paths = [(place.path, number) for place, number in numbers.items() if place.header is None]
        self._tree = Tree(paths) if paths else None
        self._paths = [number for _, number in paths]
        #: Of each key on the way to an id: the number of what it stands in, None for the body, and the key.
        self._exact = [
            (numbers[_at(path[:depth])] if depth else None, path[depth])
            for path in exact
            for depth in range(len(path))
        ]
        self._fields = [
            (name, source, [numbers[place] for place in places_of(source)])
            for name, source in sources.items()
            if source
        ]

    @property
    def needs_body(self) -> bool:
        """Whether anything is to be found there."""
        return self._tree is not None

    def headers(self, request: Request) -> Found:
        """What stands in headers."""
        found: Found = [None] * self._count
        for number, header in self._headers:
            found[number] = request.optional(header)
        return found

    def body(self, value: bytes | Raw, found: Found) -> None:
        """Add what stands in an object. Raises one of ``FAULTS``."""
        if self._tree is None:
            return
        raws = [NOTHING] * self._count
        self._tree.find(value, raws)
        for parent, key in self._exact:
            inside = value if parent is None else raws[parent]
            if inside is not NOTHING and (parent is None or is_object(raws[parent])):
                require_single(bytes(inside), key)
        for number in self._paths:
            raw = raws[number]
            if raw is not NOTHING:
                found[number] = scalar(raw)

    def part(self, raw: Raw, path: Sequence[str | int], request: Request, around: Reading) -> Reading:
        """One event of several: what stands in it, at this path of the body, and else what stands around it."""
        reading = Reading(
            None, around.type, around.subject, around.occurred_at, write_pointer(path), bytes(raw)
        )
        found = self.headers(request)
        try:
            if is_object(raw):
                self.body(raw, found)
        except FAULTS as fault:
            reading.fault = fault
        else:
            self.fill(reading, found)
        return reading

    def fill(self, reading: Reading, found: Found) -> None:
        """Set what was found, as far as the sources go."""
        for name, source, numbers in self._fields:
            texts = [text for number in numbers if (text := found[number])]
            if not texts or (name == "id" and isinstance(source, Joined) and len(texts) < len(numbers)):
                continue
            setattr(reading, name, source.by.join(texts) if isinstance(source, Joined) else texts[0])


def check_count(items: Sequence[object]) -> None:
    """Raise ValueError when these are more events than any known sender puts into one request."""
    if len(items) > MOST_ITEMS:
        raise ValueError(
            f"it holds {len(items)} events, and {MOST_ITEMS} are the most that are taken at once"
        )


def _at(path: tuple[str, ...]) -> Place:
    return Place(path=path)


class JsonReader(Reader):
    """Reads what a pack's ``reads`` name; with ``items``, one event for each element of that list."""

    def __init__(self, reads: Reads, items: str | None = None, item: Reads | None = None) -> None:
        self._around = Sight(reads)
        self._items = None if items is None else parse_pointer(items)
        self._list = Tree([(self._items, 0)]) if self._items else None
        self._item = Sight(item or Reads())

    def read(self, request: Request, into: Reading) -> Challenge | Sequence[Reading] | None:
        found = self._around.headers(request)
        if any(found):
            self._around.fill(into, found)
        body = self.body(request)
        if self._items is not None:
            return self._read_items(body, request, into, found)
        if self._around.needs_body:
            self._around.body(utf8(body), found)
            self._around.fill(into, found)
        elif is_json(request):
            require_json(body)
        return None

    def body(self, request: Request) -> bytes:
        """The JSON; it may stand inside something else."""
        return request.body

    def _read_items(
        self, body: bytes, request: Request, into: Reading, found: Found
    ) -> Sequence[Reading] | None:
        if self._list is not None:
            self._around.body(utf8(body), found)
            self._around.fill(into, found)
        items = self._elements(body)
        if items is None:
            if self._list is None:
                self._read_alone(body, request, into)
            return None
        check_count(items)
        path = self._items or ()
        return [self._item.part(raw, (*path, number), request, into) for number, raw in enumerate(items)]

    def _read_alone(self, body: bytes, request: Request, into: Reading) -> None:
        """The body would be the list and is one of its events instead, as some senders send what happens alone."""
        found = self._item.headers(request)
        if is_object(Raw(body.lstrip())):
            self._item.body(body, found)
        self._item.fill(into, found)

    def _elements(self, body: bytes) -> Sequence[Raw] | None:
        """The list, None where there is none: then the request is one event."""
        if self._list is None:
            return array(require_json(body))
        raws = [NOTHING]
        self._list.find(body, raws)
        return array(raws[0])
