"""FastAPI and SQLAlchemy, an ``INSERT`` and a commit for each request: what teams write by hand.

``sync`` is as FastAPI's tutorial on SQL databases has it, a session in a plain function, which FastAPI runs in a thread;
``async`` as SQLAlchemy's documentation on asyncio has it. Sessions and pools are at their defaults.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from common import Verified, answer, serve
from fastapi import Depends, FastAPI
from sqlalchemy import DateTime, Engine, LargeBinary, create_engine, event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

sessions: sessionmaker[Session] = sessionmaker()
async_sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(expire_on_commit=False)


class Base(DeclarativeBase):
    """The models."""


class Webhook(Base):
    """One that was received."""

    __tablename__ = "webhooks"

    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(unique=True)
    type: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))


def row(webhook: Verified) -> Webhook:
    """The new row."""
    return Webhook(event_id=webhook.id, type=webhook.data["type"], body=webhook.body)


def engine_for(url: str) -> Engine:
    """SQLite is told to sync every commit, with a write-ahead log, and waits for its turn longer than by default."""
    if not url.startswith("sqlite"):
        return create_engine(url)
    engine = create_engine(url, connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def durable(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    return engine


def sync_app(url: str) -> FastAPI:
    """Blocks, in threads."""
    engine = engine_for(url)
    Base.metadata.create_all(engine)
    sessions.configure(bind=engine)
    app = FastAPI()
    app.post("/webhooks/stripe")(receive)
    return app


def session() -> Iterator[Session]:
    """One a request."""
    with sessions() as opened:
        yield opened


def receive(webhook: Verified, session: Annotated[Session, Depends(session)]) -> dict[str, bool]:
    """One transaction a webhook."""
    session.add(row(webhook))
    try:
        session.commit()
    except IntegrityError:
        return answer(duplicate=True)
    return answer(duplicate=False)


def async_app(url: str) -> FastAPI:
    """Awaits, on the event loop."""
    engine = create_async_engine(url)
    async_sessions.configure(bind=engine)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield

    app = FastAPI(lifespan=lifespan)
    app.post("/webhooks/stripe")(receive_async)
    return app


async def async_session() -> AsyncIterator[AsyncSession]:
    """One a request."""
    async with async_sessions() as opened:
        yield opened


async def receive_async(
    webhook: Verified, session: Annotated[AsyncSession, Depends(async_session)]
) -> dict[str, bool]:
    """One transaction a webhook."""
    session.add(row(webhook))
    try:
        await session.commit()
    except IntegrityError:
        return answer(duplicate=True)
    return answer(duplicate=False)


if __name__ == "__main__":
    _, _, url, kind = sys.argv
    if kind == "async":
        serve(async_app(url.replace("postgresql://", "postgresql+asyncpg://")))
    else:
        serve(sync_app(url.replace("postgresql://", "postgresql+psycopg://")))
