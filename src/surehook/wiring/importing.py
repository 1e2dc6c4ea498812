"""Importing the application that ``app`` names; what is wrong with it is told where it is wrong."""

from __future__ import annotations

import importlib
import sys
import traceback
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Final

from surehook.config import Settings
from surehook.errors import ConfigurationError, SurehookError, did_you_mean
from surehook.handlers import Registry

#: Where no line of the user's own is.
_OTHERS: Final = (
    "site-packages",
    "<frozen",
    str(Path(__file__).parents[1]),
    str(Path(importlib.__file__).parent),
)


def load_app(settings: Settings) -> Registry:
    """The application that ``app`` names, or an empty one.

    Raises ConfigurationError when it cannot be imported (with the file and line of the user's own code) or is no App.
    """
    if settings.app is None:
        return Registry()
    module_name, _, attribute = settings.app.partition(":")
    place = f"app = {settings.app!r}"
    module = _import(module_name, place)
    try:
        found = attrgetter(attribute)(module)
    except AttributeError:
        where = _shown(module.__file__ or module_name)
        hint = _apps_in(module, attribute)
        raise ConfigurationError(f"{place}: {where} has no attribute {attribute!r}. {hint}") from None
    if not isinstance(found, Registry):
        hint = _apps_in(module, attribute)
        raise ConfigurationError(f"{place} is a {type(found).__name__}, not a surehook.App. {hint}")
    return found


def _import(name: str, place: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            hint = did_you_mean(name, [path.stem for path in Path().glob("*.py")])
            raise ConfigurationError(
                f"{place}: there is no module {error.name!r} in the working directory, {here}. {hint}"
            ) from None
        what = str(error) if isinstance(error, SurehookError) else f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"{place} cannot be imported: {_place_of(error)}{what}") from error


def _place_of(error: BaseException) -> str:
    """File and line of the user's own code that an error is about, or nothing."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}, line {error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(part in frame.filename for part in _OTHERS)]
    near = [frame for frame in own if Path(frame.filename).is_relative_to(Path.cwd())] or own
    return f"{_shown(near[-1].filename)}, line {near[-1].lineno}: " if near else ""


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _apps_in(module: ModuleType, attribute: str) -> str:
    apps = [name for name, value in vars(module).items() if isinstance(value, Registry)]
    if not apps:
        return "There is no App in it: write app = surehook.App() and decorate handlers with @app.on."
    return f"{did_you_mean(attribute, apps)} Write it behind the colon of the setting app."
