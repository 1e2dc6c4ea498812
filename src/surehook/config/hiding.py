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


def looks_secret(text: str) -> bool:
    """Whether a text begins like a known kind of secret, or is long and random."""
    if _PREFIXED.match(text):
        return True
    return bool(_LONG.fullmatch(text)) and len(_CHANGES.findall(text)) >= _FEWEST_CHANGES


def without_query(url: str) -> str:
    """A web address without what follows its path, which may hold a token."""
    return re.sub(r"^(https?://[^?#]*)[?#].+", r"\1?...", url, flags=re.IGNORECASE | re.DOTALL)
