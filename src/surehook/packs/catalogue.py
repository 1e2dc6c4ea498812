"""The packs there are: one file each in ``providers``, read when somebody asks for it."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from surehook.errors import ConfigurationError, did_you_mean
from surehook.packs import providers
from surehook.packs.pack import Pack


class Catalogue(Mapping[str, Pack]):
    """Every pack by its name, which is that of its file with hyphens."""

    def __init__(self) -> None:
        files = [module.name for module in pkgutil.iter_modules(providers.__path__)]
        self._files = {name.replace("_", "-"): name for name in sorted(files) if not name.startswith("_")}
        self._loaded: dict[str, Pack] = {}

    def __getitem__(self, name: str) -> Pack:
        if name not in self._loaded:
            module = import_module(f"{providers.__name__}.{self._files[name]}")
            pack: Pack = module.PACK
            self._loaded[name] = pack
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


PACKS: Final[Mapping[str, Pack]] = Catalogue()


def pack_named(name: str) -> Pack:
    """A pack of the catalogue, or one's own: ``module:object``. Raises ConfigurationError when there is none."""
    if name in PACKS:
        return PACKS[name]
    if ":" in name:
        return _own(name)
    raise ConfigurationError(f"there is no pack {name!r}: set pack. {did_you_mean(name, PACKS)}")


def _own(name: str) -> Pack:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"pack = {name!r} cannot be imported: {error}") from error
    if isinstance(found, type) and issubclass(found, Pack):
        found = found()
    if not isinstance(found, Pack):
        raise ConfigurationError(f"pack = {name!r} is no pack: derive it from surehook.packs.Pack")
    return found
