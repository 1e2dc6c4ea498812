"""Loading the settings: defaults < ``surehook.toml`` < environment < flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec
from msgspec import inspect

from surehook.config import rules, sources
from surehook.config.decoding import Decoder, Problems, is_clean
from surehook.config.settings import Settings
from surehook.config.sources import Source, Tree
from surehook.errors import ConfigurationError

__all__ = ["Examination", "Loaded", "Source", "examine", "load"]

_KIND = cast(inspect.StructType, inspect.type_info(Settings))
_TABLES = inspect.StructType | inspect.DictType | inspect.VarTupleType
#: What stands above the first table of a file.
_TOP = frozenset(field.encode_name for field in _KIND.fields if not isinstance(field.type, _TABLES))


class Loaded(msgspec.Struct, frozen=True):
    """Settings, and where their values came from."""

    settings: Settings
    #: Dotted place to source, for what is not a default.
    sources: Mapping[str, Source]
    #: The file that was read, if any.
    path: Path | None


class Examination(msgspec.Struct, frozen=True):
    """The settings as far as they can be read, and everything that is wrong with them."""

    loaded: Loaded
    problems: tuple[str, ...]
    #: The dotted places of the problems.
    places: frozenset[str] = frozenset()

    def clean(self, place: str) -> bool:
        """Whether there is no problem at a dotted place or below it."""
        return is_clean(self.places, place)


def load(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object]) -> Loaded:
    """The settings.

    They come from a file (``path``, else ``SUREHOOK_CONFIG``, else ``./surehook.toml`` if there is one), the variables
    ``SUREHOOK_...`` (nested with ``__``) and flags (``overrides``: dotted places to values). Secrets are not looked up,
    only their references are read. Raises ConfigurationError with every problem there is.
    """
    examination = examine(path, environ, overrides)
    if examination.problems:
        raise ConfigurationError(explain(examination.problems))
    return examination.loaded


def examine(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object]) -> Examination:
    """As ``load``, but problems are returned.

    Raises ConfigurationError only when there is no file to examine, or it is not TOML.
    """
    file = sources.find_file(path, environ)
    tree: dict[str, Tree] = sources.read_file(file) if file else {}
    sources.add_environment(tree, environ)
    sources.add_flags(tree, overrides)
    problems = Problems()
    decoder = Decoder(problems, _TOP)
    settings = decoder.struct(_KIND, tree, "")
    rules.check(settings, decoder.sources, problems)
    return Examination(Loaded(settings, decoder.sources, file), tuple(problems.texts), problems.places)


def explain(problems: tuple[str, ...]) -> str:
    """The problems as one message."""
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"the configuration has {count}:\n" + "\n".join(f"  - {problem}" for problem in problems)
