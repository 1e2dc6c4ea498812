"""Settings as people may see them: every value with its source, no secret among them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from surehook.config.hiding import looks_secret, shown_reference, without_password, without_query
from surehook.config.loading import Loaded
from surehook.config.settings import Settings
from surehook.config.sources import Source
from surehook.config.units import duration_text, size_text

_PASSWORD: Final = re.compile(r"(?<=://)[^/@\s]*@")
_DEFAULT: Final = Source("default")


class Shown(msgspec.Struct, frozen=True):
    """One setting. ``value`` is text, number, truth value, list or None; durations and sizes as people write them."""

    place: str
    value: Any
    source: Source


def show(loaded: Loaded) -> list[Shown]:
    """Every setting, in the order of its definition.

    Masked are values of headers, passwords and query strings in URLs, and what looks like a secret in the wrong place.
    """
    return [
        Shown(place, value, _source(loaded, place))
        for place, value in _leaves(inspect.type_info(Settings), loaded.settings, "")
    ]


def _source(loaded: Loaded, place: str) -> Source:
    while place:
        if place in loaded.sources:
            return loaded.sources[place]
        place = place.rpartition(".")[0] if "[" not in place else place.rpartition("[")[0]
    return _DEFAULT


def _leaves(kind: inspect.Type, value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield from _leaves(field.type, getattr(value, field.name), f"{place}.{field.name}".lstrip("."))
    elif isinstance(kind, inspect.DictType):
        for key, item in value.items():
            masked = item if isinstance(kind.value_type, inspect.StructType) else "(not shown)"
            yield from _leaves(kind.value_type, masked, f"{place}.{key}")
    elif isinstance(kind, inspect.VarTupleType) and isinstance(kind.item_type, inspect.StructType):
        for index, item in enumerate(value):
            yield from _leaves(kind.item_type, item, f"{place}[{index}]")
    else:
        yield place, _readable(kind, value)


def _readable(kind: inspect.Type, value: Any) -> Any:
    match kind:
        case inspect.UnionType(types=(inner, *_)):
            return None if value is None else _readable(inner, value)
        case inspect.VarTupleType(item_type=item):
            return [_readable(item, one) for one in value]
        case inspect.Metadata(extra={"unit": unit}):
            return _UNITS[unit](value)
    return _text(value) if isinstance(value, str) else value


def _text(value: str) -> str:
    if looks_secret(value):
        return "(not shown)"
    without = without_password(value)
    return without if without != value else shown_reference(_PASSWORD.sub("***@", without_query(value)))


_UNITS: Final[Mapping[str, Callable[[Any], str]]] = {
    "duration": duration_text,
    "seconds": lambda value: duration_text(value * 1000),
    "size": size_text,
    "reference": shown_reference,
}
