"""Patterns over event types."""

from __future__ import annotations

import pytest

from surehook.matching import is_pattern, matches


@pytest.mark.parametrize(
    ("pattern", "type", "expected"),
    [
        ("invoice.paid", "invoice.paid", True),
        ("invoice.paid", "invoice.paid.late", False),
        ("invoice.paid", "Invoice.Paid", False),
        ("*", "invoice.paid", True),
        ("*", "push", True),
        ("invoice.*", "invoice.paid", True),
        ("invoice.*", "invoice.payment.failed", True),
        ("invoice.*", "invoice", False),
        ("invoice.*", "invoice.", False),
        ("invoice.*", "invoiceitem.created", False),
        ("invoice.*", "INVOICE.paid", False),
        ("invoice.payment.*", "invoice.payment.failed", True),
        ("orders/*", "orders/create", True),
        ("orders/*", "orders/fulfillments/create", True),
        ("orders/*", "orders", False),
        ("zen:event-type:*", "zen:event-type:ticket.created", True),
        ("inv*", "invoice.paid", False),
        ("inv*", "inv*", True),
        ("*.paid", "invoice.paid", False),
    ],
)
def test_a_pattern_fits_a_type(pattern: str, type: str, expected: bool) -> None:
    assert matches(pattern, type) is expected


@pytest.mark.parametrize("text", ["invoice.paid", "*", "invoice.*", "a.b.*", "orders/*", "zen:event:*"])
def test_patterns_that_can_match_as_meant(text: str) -> None:
    assert is_pattern(text)


@pytest.mark.parametrize("text", ["", "inv*", "*.paid", "invoice.*.x", "**", "*.*", ".*", "/*", "orders/*/x"])
def test_texts_that_cannot(text: str) -> None:
    assert not is_pattern(text)
