"""Patterns over event types, the same for handlers and for forward rules. They are case-sensitive."""

from __future__ import annotations


def matches(pattern: str, type: str) -> bool:
    """Whether an event type fits a pattern.

    A pattern is an exact type; ``*``, any type; or ``invoice.*``, any type that begins with ``invoice.`` and goes on,
    however deep. A ``*`` anywhere else stands for itself (``is_pattern`` says so beforehand).
    """
    if pattern == "*":
        return True
    if pattern.endswith(".*"):
        prefix = pattern[:-1]
        return type.startswith(prefix) and len(type) > len(prefix)
    return pattern == type


def is_pattern(text: str) -> bool:
    """Whether ``text`` is a pattern that can match as its writer meant: a ``*`` only alone or after a last dot."""
    return text == "*" or (text not in ("", ".*") and "*" not in text.removesuffix(".*"))
