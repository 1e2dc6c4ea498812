"""The file, the environment and the flags, read into one tree that remembers where each value came from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from surehook.errors import ConfigurationError

PREFIX: Final = "SUREHOOK_"
DEFAULT_FILE: Final = "surehook.toml"

#: Variables of this prefix that are no settings.
_NO_SETTINGS: Final = frozenset({"SUREHOOK_CONFIG", "SUREHOOK_DEBUG"})
#: What Kubernetes sets in every pod beside a service that is called "surehook".
_SERVICE_LINK: Final = re.compile(r"SUREHOOK_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
#: A reference to a variable, alone or in a list.
_SECRET: Final = re.compile(r"\benv:([A-Za-z_][A-Za-z0-9_]*)")


class Source(msgspec.Struct, frozen=True):
    """Where a value came from; ``name`` is the file or the variable."""

    kind: Literal["default", "file", "environment", "flag"]
    name: str = ""

    def __str__(self) -> str:
        return {"default": "default", "flag": "a flag"}.get(self.kind, self.name)


class Given(msgspec.Struct, frozen=True):
    """One value somebody set. ``text`` is true where all values are texts (the environment)."""

    value: Any
    source: Source
    text: bool = False


Tree = Given | dict[str, "Tree"]


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file: as asked for, or ``./surehook.toml`` if there is one."""
    if path is not None:
        return path
    if named := environ.get("SUREHOOK_CONFIG"):
        return Path(named)
    usual = Path(DEFAULT_FILE)
    return usual if usual.is_file() else None


def is_empty(path: Path | None, environ: Mapping[str, str]) -> bool:
    """Whether there is neither a configuration file nor a setting in the environment."""
    tree: dict[str, Tree] = {}
    add_environment(tree, environ)
    return not tree and find_file(path, environ) is None


def read_file(path: Path) -> dict[str, Tree]:
    """The tree of a TOML file. Raises ConfigurationError when it cannot be read."""
    try:
        table = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: there is no such file. `surehook init` writes one.") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text (byte {error.start}).") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}.") from None
    return _tree(table, Source("file", str(path)))


def add_environment(tree: dict[str, Tree], environ: Mapping[str, str]) -> None:
    """Lay the variables ``SUREHOOK_...`` over the tree. An empty one counts as not set.

    A variable that some value refers to as a secret (``env:NAME``) is no setting.
    """
    settings = {name: value for name, value in environ.items() if _is_setting(name) and value}
    secrets = {name for text in (*_texts(tree), *settings.values()) for name in _SECRET.findall(text)}
    for name in sorted(settings.keys() - secrets):
        _put(
            tree,
            name.removeprefix(PREFIX).lower().split("__"),
            Given(settings[name], Source("environment", name), True),
        )


def add_flags(tree: dict[str, Tree], overrides: Mapping[str, object]) -> None:
    """Lay the flags over the tree: dotted places to values; None means that the flag was not given."""
    for place, value in overrides.items():
        if value is not None:
            _put(tree, place.split("."), Given(value, Source("flag"), isinstance(value, str)))


def _tree(table: Mapping[str, Any], source: Source) -> dict[str, Tree]:
    return {
        key: _tree(value, source) if isinstance(value, dict) else Given(value, source)
        for key, value in table.items()
    }


def _is_setting(name: str) -> bool:
    return name.startswith(PREFIX) and name not in _NO_SETTINGS and not _SERVICE_LINK.fullmatch(name)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Given):
        yield from _texts(node.value)
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _texts(child)


def _put(tree: dict[str, Tree], parts: list[str], given: Given) -> None:
    for part in parts[:-1]:
        key = _key(tree, part)
        child = tree.get(key)
        if not isinstance(child, dict):
            child = tree[key] = {}
        tree = child
    tree[_key(tree, parts[-1])] = given


def _key(tree: Mapping[str, Tree], part: str) -> str:
    """The key a variable means: names of providers can hold "-", names of variables cannot."""
    if part in tree:
        return part
    return next((key for key in tree if key.lower().replace("-", "_") == part), part)
