"""Patterns over event types, the same for handlers and for forward rules. They are case-sensitive."""

from __future__ import annotations

from typing import Final

#: After these, a final ``*`` stands for whatever follows: ``invoice.*`` (Stripe), ``orders/*`` (Shopify).
SEPARATORS: Final = (".", "/", ":")


def matches(pattern: str, type: str) -> bool:
    """Whether an event type fits a pattern.

    A pattern is an exact type; ``*``, any type; or ``invoice.*``, any type that begins with ``invoice.`` and goes on,
    however deep (as well with ``/`` or ``:``). A ``*`` anywhere else stands for itself (``is_pattern`` says so
    beforehand).
    """
    if pattern == "*":
        return True
    prefix = pattern[:-1]
    if pattern.endswith("*") and prefix.endswith(SEPARATORS):
        return type.startswith(prefix) and len(type) > len(prefix)
    return pattern == type


def is_pattern(text: str) -> bool:
    """Whether ``text`` can match as its writer meant: a ``*`` only alone, or at the end after a separator."""
    if text == "*":
        return True
    prefix = text.removesuffix("*")
    if "*" in prefix or prefix in ("", *SEPARATORS):
        return False
    return prefix == text or prefix.endswith(SEPARATORS)
