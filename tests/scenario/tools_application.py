"""The application of the scenarios about handlers that bring their own tools, copied into the installation's folder.

Each handler leaves one effect and one message. Its table of effects has no unique key, whatever the models say, so that an
effect that happens twice is seen twice. With ``"hold": true`` a handler stops after its effect until the test makes a file.
"""

from __future__ import annotations

import asyncio
import os
import time
import tomllib
from pathlib import Path

import django
import psycopg
from django.conf import settings
from django.db import models
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from surehook import App, Event, SyncTransaction, Transaction
from surehook.clock import SystemClock
from surehook.contrib.django import atomic

FOLDER = Path(__file__).parent
WHERE = conninfo_to_dict(tomllib.loads((FOLDER / "surehook.toml").read_text())["database"])
INSERT = "INSERT INTO effects (event_id, external_id) VALUES (%s, %s)"

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": WHERE["dbname"],
            "USER": WHERE["user"],
            "HOST": WHERE["host"],
            "PORT": WHERE["port"],
            "CONN_MAX_AGE": 600,
        }
    }
)
django.setup()


class DjangoEffect(models.Model):
    event_id: models.TextField[str, str] = models.TextField(primary_key=True)
    external_id: models.TextField[str, str] = models.TextField()

    class Meta:
        app_label = "tools"
        db_table = "effects"


class Base(DeclarativeBase):
    pass


class Effect(Base):
    __tablename__ = "effects"
    event_id: Mapped[str] = mapped_column(primary_key=True)
    external_id: Mapped[str]


app = App()


@app.setup
async def tables(tx: Transaction) -> None:
    await tx.execute("CREATE TABLE IF NOT EXISTS effects (event_id text NOT NULL, external_id text NOT NULL)")


def held(event: Event) -> bool:
    """Whether the handler is to go on holding; says at the first time that it is."""
    return "hold" in event.data and not (FOLDER / "gate").exists()


def note(event: Event) -> None:
    with (FOLDER / "held.notes").open("a") as file:
        file.write(f"{SystemClock().now()} {event.external_id}\n")


async def hold(event: Event) -> None:
    note(event)
    while held(event):
        await asyncio.sleep(0.01)


def hold_thread(event: Event) -> None:
    note(event)
    while held(event):
        time.sleep(0.01)


def publish(event: Event) -> None:
    event.publish("ledger", type="order.recorded", data={"order": event.external_id, "by": os.getpid()})


@app.on("acme", "tools.psycopg", timeout="1m")
async def with_psycopg(event: Event, tx: Transaction) -> None:
    connection: psycopg.AsyncConnection = await tx.connection()
    await connection.execute(INSERT, [event.id, event.external_id])
    publish(event)
    await hold(event)


@app.on("acme", "tools.psycopg_in_thread", timeout="1m")
def with_psycopg_in_thread(event: Event, tx: SyncTransaction) -> None:
    connection: psycopg.Connection = tx.connection()
    connection.execute(INSERT, [event.id, event.external_id])
    publish(event)
    hold_thread(event)


@app.on("acme", "tools.sqlalchemy", timeout="1m")
async def with_sqlalchemy(event: Event, tx: Transaction) -> None:
    session: AsyncSession = await tx.session()
    session.add(Effect(event_id=event.id, external_id=event.external_id))
    await session.commit()
    publish(event)
    await hold(event)


@app.on("acme", "tools.sqlalchemy_in_thread", timeout="1m")
def with_sqlalchemy_in_thread(event: Event, tx: SyncTransaction) -> None:
    session: Session = tx.session()
    session.add(Effect(event_id=event.id, external_id=event.external_id))
    publish(event)
    hold_thread(event)


@app.on("acme", "tools.django", timeout="1m")
@atomic
def with_django(event: Event) -> None:
    DjangoEffect.objects.create(event_id=event.id, external_id=event.external_id)
    publish(event)
    hold_thread(event)
