"""Python and the libraries, against what this version of Surehook asks for."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib import metadata
from itertools import zip_longest
from typing import Final

from surehook.version import __version__
from surehook.wiring.doctor.findings import Finding

_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*([^;]*)(?:;(.*))?")
_BOUND: Final = re.compile(r"(>=|<)\s*([0-9.]+)")


def check_versions() -> Iterator[Finding]:
    """What is installed. Libraries of extras are looked at where they are there."""
    yield Finding("python", "ok", f"{platform.python_implementation()} {platform.python_version()}")
    try:
        required = metadata.requires("surehook") or []
    except metadata.PackageNotFoundError:
        text = (
            "surehook is not installed as a package, so its requirements are not known: install it with pip"
        )
        yield Finding("libraries", "warning", text)
        return
    installed, unfit = {}, []
    for name, bounds, optional in map(_requirement, required):
        version = _installed(name)
        if version is not None:
            installed[name] = version
        if (version is None and not optional) or (version is not None and not satisfies(version, bounds)):
            unfit.append(f"{name} {bounds} is needed, found {version or 'none'}")
    yield from (
        Finding("libraries", "failed", f"{text}: reinstall surehook") for text in dict.fromkeys(unfit)
    )
    listed = ", ".join(f"{name} {version}" for name, version in installed.items())
    yield from [Finding("libraries", "ok", f"surehook {__version__} with {listed}")] * (not unfit)


def satisfies(version: str, bounds: str) -> bool:
    """Whether a version lies within bounds such as ">=3.14.5,<3.15"; only these two kinds are looked at."""
    there = _numbers(version)
    return all(_before(there, _numbers(bound)) is (sign == "<") for sign, bound in _BOUND.findall(bounds))


def _requirement(text: str) -> tuple[str, str, bool]:
    """Name, bounds, and whether it is an extra's only."""
    found = _REQUIREMENT.match(text)
    name, bounds, marker = found.groups("") if found else (text, "", "")
    return name, bounds.strip(), "extra" in marker


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", re.sub(r"[^0-9.].*", "", version))]


def _before(one: list[int], other: list[int]) -> bool:
    pairs = list(zip_longest(one, other, fillvalue=0))
    return [left for left, _ in pairs] < [right for _, right in pairs]
