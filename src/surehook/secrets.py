"""Secrets: named by reference in the settings, read once, never shown.

A reference is ``env:NAME`` (an environment variable) or ``file:PATH`` (a file, less one newline at its end).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from surehook.errors import ConfigurationError

#: What is surely a variable's name. Anything else after ``env:`` may be a secret put there by mistake.
_PLAIN_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")


class Secret:
    """A secret value that does not show itself in logs, tracebacks or ``repr``."""

    __slots__ = ("_value", "reference")

    def __init__(self, value: str, reference: str = "") -> None:
        self._value = value
        #: Where it came from, e.g. ``env:STRIPE_SECRET``; safe to show.
        self.reference = reference

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def encode(self) -> bytes:
        """The value in UTF-8."""
        return self._value.encode()

    def __repr__(self) -> str:
        return f"Secret({self.reference!r})"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not to be copied or pickled: pass its reference on instead")


#: Turns a reference into the secret; ``resolve`` outside of tests.
SecretResolver = Callable[[str], Secret]


def resolve(reference: str) -> Secret:
    """The secret behind a reference.

    Raises ConfigurationError when the variable or file is missing, unreadable, empty or not UTF-8, or when ``reference``
    is none: then it may be the secret itself, so the message does not repeat it.
    """
    kind, colon, name = reference.partition(":")
    if not colon or kind not in ("env", "file") or not name:
        raise ConfigurationError(
            "a secret is written as a reference, env:NAME or file:PATH, and this is neither (it is not repeated here "
            "since it may be the secret itself). Put the value into an environment variable or a file and name that"
        )
    value = _from_environment(name) if kind == "env" else _from_file(name)
    if not value:
        raise ConfigurationError(f"the secret {_shown(kind, name)} is empty")
    return Secret(value, reference)


def _shown(kind: str, name: str) -> str:
    return f"{kind}:{name}" if kind == "file" or _PLAIN_NAME.fullmatch(name) else f"{kind}:..."


def _from_environment(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        note = "" if _PLAIN_NAME.fullmatch(name) else " (not shown: it does not look like a variable's name)"
        raise ConfigurationError(
            f"the environment variable of {_shown('env', name)}{note} is not set: export it"
        )
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigurationError(f"the secret {_shown('env', name)} is not UTF-8 text")
    return value


def _from_file(name: str) -> str:
    try:
        value = Path(name).read_bytes().decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"the secret file:{name} is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"the secret file:{name} cannot be read: {reason}") from None
    return value.removesuffix("\n").removesuffix("\r")
