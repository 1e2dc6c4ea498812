"""From the tree of given values to Settings: each value checked, each problem told."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from surehook.config import units
from surehook.config.hiding import looks_secret
from surehook.config.sources import Given, Source, Tree
from surehook.config.stores import is_reference
from surehook.errors import did_you_mean

#: Stands for a value that had a problem; the default takes its place.
BAD: Final = msgspec.UNSET

_BOOLEANS: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
_NAMES: Final = {
    bool: "true or false",
    int: "a number",
    str: "a text",
    list: "a list",
    dict: "a table",
    float: "a fraction",
}


class Problems:
    """What is wrong, and where."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._places: set[str] = set()

    def add(self, place: str, source: Source | None, message: str) -> None:
        """Note a problem of a dotted place."""
        self._places.add(place)
        self.texts.append(f"{place} ({source}): {message}" if source else f"{place}: {message}")

    @property
    def places(self) -> frozenset[str]:
        """Where problems are."""
        return frozenset(self._places)

    def clean(self, *places: str, deep: bool = True) -> bool:
        """Whether neither these places nor (``deep``) anything under them has a problem so far."""
        return is_clean(self._places, *places) if deep else self._places.isdisjoint(places)


def is_clean(bad: Collection[str], *places: str) -> bool:
    """Whether neither these places nor anything under them is among the bad ones."""
    return not any(
        each == place or each.startswith((f"{place}.", f"{place}[")) for place in places for each in bad
    )


class Decoder:
    """Turns a tree into a struct, and keeps the source of every value that was used."""

    def __init__(self, problems: Problems, top: Collection[str] = ()) -> None:
        """``top``: the settings that stand above the first table of a file."""
        self.problems = problems
        self._top = top
        self.sources: dict[str, Source] = {}

    def struct(self, kind: inspect.StructType, tree: Mapping[str, Tree], place: str) -> Any:
        """The struct of a table; a field with a problem has its default (or, without one, nothing in it)."""
        fields = {field.encode_name: field for field in kind.fields}
        values = {}
        for key, node in tree.items():
            if key in fields:
                values[key] = self.field(fields[key], node, _join(place, key))
            else:
                hint = self._misplaced(key, node, place, fields) or did_you_mean(key, fields)
                self.problems.add(_join(place, key), source_of(node), f"unknown setting. {hint}")
        for name, field in fields.items():
            if field.required and name not in values:
                self.problems.add(_join(place, name), None, f"missing. {_example(field)}")
            if field.required and values.get(name, BAD) is BAD:
                values[name] = () if isinstance(field.type, inspect.VarTupleType) else ""
        return kind.cls(**{name: value for name, value in values.items() if value is not BAD})

    def _misplaced(self, key: str, node: Tree, place: str, fields: Collection[str]) -> str:
        """What to say of a setting below a table that is meant for the top of the file; TOML puts it into the table."""
        source, meant = source_of(node), _nearest(key, self._top)
        if not place or source is None or source.kind != "file" or not meant:
            return ""
        if _nearest(key, fields) and key != meant:
            return ""
        return f"If {meant!r} is meant: it must stand above the first [table] of the file, and this is below [{place}]."

    def field(self, field: inspect.Field, node: Tree, place: str) -> Any:
        """The value of one setting, or BAD."""
        try:
            return self.value(field.type, node, place)
        except Unfit as unfit:
            self.problems.add(place, source_of(node), f"{unfit} {_example(field)}")
            return BAD

    def value(self, kind: inspect.Type, node: Tree, place: str) -> Any:
        """A value of some type. Raises Unfit for this very value; problems inside it are noted."""
        if isinstance(kind, inspect.UnionType):
            return self.value(kind.types[0], node, place)  # the other one is None, which TOML does not have
        if isinstance(kind, inspect.StructType | inspect.DictType):
            return self.table(kind, as_table(node), place)
        if isinstance(node, dict):
            raise Unfit(f"expected {wanted(kind)}, found a table.")
        self.sources[place] = node.source
        if isinstance(kind, inspect.VarTupleType):
            return self.items(kind.item_type, as_list(node), place)
        return scalar(kind, node)

    def table(self, kind: inspect.StructType | inspect.DictType, tree: Mapping[str, Tree], place: str) -> Any:
        """A struct, or a dictionary by name."""
        if isinstance(kind, inspect.StructType):
            return self.struct(kind, tree, place)
        values = {key: self.item(kind.value_type, node, _join(place, key)) for key, node in tree.items()}
        return {key: value for key, value in values.items() if value is not BAD}

    def items(self, kind: inspect.Type, nodes: list[Given], place: str) -> tuple[Any, ...]:
        """A list; items with problems are left out."""
        values = [self.item(kind, node, f"{place}[{index}]") for index, node in enumerate(nodes)]
        return tuple(value for value in values if value is not BAD)

    def item(self, kind: inspect.Type, node: Tree, place: str) -> Any:
        """One item of a list or dictionary, or BAD."""
        try:
            return self.value(kind, node, place)
        except Unfit as unfit:
            self.problems.add(place, source_of(node), str(unfit))
            return BAD


class Unfit(Exception):
    """A value that is not what its setting needs; the message says what was found and what is expected."""


def source_of(node: Tree) -> Source | None:
    """Where the first value of a tree came from."""
    while isinstance(node, dict):
        if not node:
            return None
        node = next(iter(node.values()))
    return node.source


def as_table(node: Tree) -> Mapping[str, Tree]:
    """A table, also one that is written inline."""
    if isinstance(node, dict):
        return node
    value = _from_toml(node) if node.text else node.value
    if not isinstance(value, dict):
        raise Unfit(f"expected a table, found {name_of(value)}.")
    return {key: Given(item, node.source) for key, item in value.items()}


def as_list(node: Given) -> list[Given]:
    """A list: of TOML, or in the environment also a text with commas."""
    if node.text and not node.value.lstrip().startswith("["):
        return [Given(part.strip(), node.source, True) for part in node.value.split(",") if part.strip()]
    value = _from_toml(node) if node.text else node.value
    if not isinstance(value, list | tuple):
        raise Unfit(f"expected a list, found {name_of(value)}.")  # not shown: it may be a secret
    return [Given(item, node.source) for item in value]


def scalar(kind: inspect.Type, given: Given) -> Any:
    """A number, text or truth value, checked against its unit, range, pattern or choices."""
    if isinstance(kind, inspect.Metadata) and kind.extra and (unit := kind.extra.get("unit")):
        return _UNITS[unit](given)
    kind = kind.type if isinstance(kind, inspect.Metadata) else kind
    value = given.value
    if isinstance(kind, inspect.BoolType):
        value = _BOOLEANS.get(value.lower(), value) if given.text else value
        fits = isinstance(value, bool)
    elif isinstance(kind, inspect.IntType):
        value = int(value) if given.text and re.fullmatch(r"-?[0-9]{1,18}", value) else value
        fits = type(value) is int and _in_range(kind, value)
    elif isinstance(kind, inspect.LiteralType):
        value = next((choice for choice in kind.values if str(choice).lower() == str(value).lower()), value)
        fits = value in kind.values
    else:
        fits = isinstance(value, str) and bool(re.search(getattr(kind, "pattern", None) or "", value))
    if not fits:
        raise Unfit(f"expected {wanted(kind)}, found {found(value)}.")
    return value


def wanted(kind: inspect.Type) -> str:
    """What a type expects, in words."""
    match kind:
        case inspect.Metadata(extra={"unit": "duration" | "seconds"}):
            return units.DURATION
        case inspect.Metadata():
            return wanted(kind.type)
        case inspect.IntType(ge=least, le=most):
            return (
                f"a whole number of at least {least}"
                if most is None
                else f"a whole number from {least} to {most}"
            )
        case inspect.LiteralType(values=choices):
            return f"one of {', '.join(map(str, choices))}"
        case inspect.BoolType() | inspect.VarTupleType():
            return _NAMES[bool if isinstance(kind, inspect.BoolType) else list]
        case inspect.StrType(pattern=pattern) if pattern:
            return 'a name of the form "module:object"'
    return "a text"


def found(value: Any) -> str:
    """A value as an error shows it: short, and on one line."""
    text = repr(value)
    shown = text[:57] + "..." if len(text) > 60 else text
    if isinstance(value, str) and looks_secret(value):
        shown = "(not shown: it looks like a secret)"
    return name_of(value) if isinstance(value, list | dict) else f"{name_of(value)}: {shown}"


def name_of(value: Any) -> str:
    """What kind of value it is, in words."""
    return _NAMES.get(type(value), "a date or time")


def _duration(given: Given) -> int:
    value = given.value
    try:
        result = units.milliseconds(value if isinstance(value, str) else "")
    except ValueError:
        bare = str(value) if type(value) is int or (isinstance(value, str) and value.isdigit()) else ""
        hint = f' Write the unit: "{bare}s" or "{bare}ms".' if bare else ""
        raise Unfit(f"expected {units.DURATION}, found {found(value)}.{hint}") from None
    if result < 1:
        raise Unfit(f"expected {units.DURATION}, longer than nothing, found {found(value)}.")
    return result


def _seconds(given: Given) -> int:
    seconds, rest = divmod(_duration(given), 1000)
    if rest:
        raise Unfit(f"expected whole seconds, found {found(given.value)}.")
    return seconds


def _size(given: Given) -> int:
    value = given.value
    try:
        result = value if type(value) is int else units.size(value if isinstance(value, str) else "")
    except ValueError:
        result = 0
    if result < 1:
        raise Unfit(
            f'expected a size such as "1MiB", "64KiB", "500KB" or a number of bytes, found {found(value)}.'
        )
    return int(result)


def _reference(given: Given) -> str:
    value = given.value
    if isinstance(value, str) and is_reference(value):
        return value
    # What stands here may be the secret itself, so it is not shown.
    raise Unfit(
        'expected where the secret is found: "env:NAME" or "file:PATH", never the secret itself; '
        f"found {name_of(value)} that is neither (not shown)."
    )


_UNITS: Final[Mapping[str, Callable[[Given], Any]]] = {
    "duration": _duration,
    "seconds": _seconds,
    "size": _size,
    "reference": _reference,
}


_EXAMPLES: Final = {
    "duration": '"30s"',
    "seconds": '"5m"',
    "size": '"1MiB"',
    "reference": '"env:STRIPE_SECRET"',
}


def _in_range(kind: inspect.IntType, value: int) -> bool:
    return (kind.ge is None or value >= kind.ge) and (kind.le is None or value <= kind.le)


def _from_toml(node: Given) -> Any:
    try:
        return tomllib.loads(f"value = {node.value}")["value"]
    except tomllib.TOMLDecodeError:
        return node.value


def _nearest(name: str, known: Collection[str]) -> str:
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)), "")


def _join(place: str, key: str) -> str:
    shown = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else repr(key)
    return f"{place}.{shown}" if place else shown


def _example(field: inspect.Field) -> str:
    return f"Example: {field.encode_name} = {_example_value(field.type, field.default)}"


def _example_value(kind: inspect.Type, default: Any) -> str:
    match kind:
        case inspect.UnionType(types=(inner, *_)):
            return _example_value(inner, default)
        case inspect.VarTupleType(item_type=item):
            return f"[{_example_value(item, None)}]"
        case inspect.Metadata(extra={"unit": unit}):
            return _EXAMPLES[unit]
        case inspect.Metadata(extra={"example": example}):
            return f'"{example}"'
        case inspect.Metadata(type=inner):
            return _example_value(inner, default)
        case inspect.StructType() | inspect.DictType():
            return "{ ... }"
    return _plain_example(kind, default)


def _plain_example(kind: inspect.Type, default: Any) -> str:
    if isinstance(kind, inspect.BoolType):
        return "true"
    if isinstance(kind, inspect.IntType):
        return str(kind.ge if default is None else default)
    return f'"{default}"' if isinstance(default, str) else '"..."'
