"""What must not be repeated: a value that looks like a secret somebody put into the wrong place."""

from __future__ import annotations

import re
from typing import Final

#: How keys and secrets of well-known services begin.
_PREFIXED: Final = re.compile(r"(whsec|sk|rk|shpss|shpat|xox[a-z]|gh[a-z]|github_pat)[_-].", re.IGNORECASE)
#: The alphabets of hexadecimal and base64, long enough for a key.
_LONG: Final = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
_CHANGES: Final = re.compile(r"(?<=[A-Za-z])[0-9]|(?<=[0-9])[A-Za-z]")
#: So often letters and digits alternate in random text, and hardly ever in a name.
_FEWEST_CHANGES: Final = 3

#: The schemes of databases and queues whose URLs hold passwords, and the options that do.
_STORES: Final = frozenset({"postgres", "postgresql", "redis", "rediss", "unix"})
_PASSWORDS: Final = re.compile(r"([?&]\w*(?:password|secret)\w*=)[^&]*", re.IGNORECASE)


def looks_secret(text: str) -> bool:
    """Whether a text begins like a known kind of secret, or is long and random."""
    if _PREFIXED.match(text):
        return True
    return bool(_LONG.fullmatch(text)) and len(_CHANGES.findall(text)) >= _FEWEST_CHANGES


def without_password(url: str) -> str:
    """The URL of a database or queue with its passwords as "***"; any other text as it is."""
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in _STORES:
        return url
    login, at, place = rest.rpartition("@")
    name, colon, _ = login.partition(":")
    # a login that holds more than a name may begin with a part of a password, and Redis takes a token for a name
    plain = not re.search("[/?#]", name) and (colon or scheme.startswith("postgres"))
    shown = f"{name}:***" if colon else name
    before = f"{shown if plain else '***'}@" if at else ""
    return f"{scheme}://{before}" + _PASSWORDS.sub(r"\1***", place)


def shown_reference(value: str) -> str:
    """A reference as people may see it: a name in lower case may be a secret that was pasted after "env:"."""
    return re.sub(r"env:(?![A-Z0-9_]+$).*", "env:(not shown)", value)


def without_query(url: str) -> str:
    """A web address without what follows its path, which may hold a token."""
    return re.sub(r"^(https?://[^?#]*)[?#].+", r"\1?...", url, flags=re.IGNORECASE | re.DOTALL)
