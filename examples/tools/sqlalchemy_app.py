"""Payments with SQLAlchemy, in a session inside the event's own transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from surehook import App, Event, SyncTransaction, Transaction

app = App()


class Base(DeclarativeBase):
    pass


class Payment(Base):
    __tablename__ = "payments"
    invoice: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int] = mapped_column(BigInteger)
    raw: Mapped[Any] = mapped_column(JSONB)


@app.setup
async def tables(tx: Transaction) -> None:
    session: AsyncSession = await tx.session()
    await (await session.connection()).run_sync(Base.metadata.create_all)


@app.on("stripe", "invoice.paid")
async def paid(event: Event, tx: Transaction) -> None:
    session: AsyncSession = await tx.session()
    invoice = event.data["data"]["object"]
    await session.merge(Payment(invoice=invoice["id"], cents=invoice["amount_paid"], raw=invoice))
    tx.publish("ledger", type="payment.recorded", data={"invoice": invoice["id"]})


@app.on("stripe", "invoice.voided")
def voided(event: Event, tx: SyncTransaction) -> None:
    session: Session = tx.session()
    payment = session.get(Payment, event.data["data"]["object"]["id"])
    if payment is not None:
        session.delete(payment)
