"""What is kept of a payment."""

from __future__ import annotations

from django.db import models


class Payment(models.Model):
    invoice: models.TextField[str, str] = models.TextField(primary_key=True)
    cents: models.BigIntegerField[int, int] = models.BigIntegerField()
    raw = models.JSONField()

    class Meta:
        db_table = "payments"
