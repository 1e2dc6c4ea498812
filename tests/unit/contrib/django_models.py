"""Django, set up for the tests of this process; which database it uses is said by each test."""

from __future__ import annotations

import django
from django.conf import settings
from django.db import connections, models
from psycopg.conninfo import conninfo_to_dict

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "said by each test"}},
    LOGGING_CONFIG=None,
    USE_TZ=True,
)
django.setup()


class Effect(models.Model):
    name: models.CharField[str, str] = models.CharField(primary_key=True, max_length=50)
    tool: models.CharField[str | None, str | None] = models.CharField(null=True, max_length=50)

    class Meta:
        app_label = "contrib_tests"
        db_table = "effects"
        managed = False


class Child(models.Model):
    parent: models.IntegerField[int, int] = models.IntegerField(primary_key=True)

    class Meta:
        app_label = "contrib_tests"
        db_table = "children"
        managed = False


def use_database(url: str) -> None:
    """Threads that begin from now on connect there."""
    where = conninfo_to_dict(url)
    connections.settings["default"] |= {
        "NAME": where["dbname"],
        "USER": where["user"],
        "HOST": where["host"],
        "PORT": where["port"],
    }
