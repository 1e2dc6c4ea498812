"""The story: send, fail, recover, repair, replay, and look at what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from examples.demo.evidence import Answers, Database, received, rows, send
from examples.demo.plan import Expected, Plan, make_plan
from examples.demo.show import ANSWERS, DATABASE, RECEIVER, Line, Show
from examples.demo.stage import DemoError, Stage

from surehook.clock import SystemClock

#: How long one step may take before the demo gives up.
PATIENCE = 60.0
#: More than the demo ever stores.
EVERYTHING = "1000"


class Play:
    """One performance on a stage that has been started."""

    def __init__(self, stage: Stage, show: Show) -> None:
        self._stage = stage
        self._show = show
        self._plan: Plan = make_plan(stage.secrets, SystemClock().now() // 1000)
        self._answers = Answers()
        self._database: Database = stage.open_database()

    async def perform(self) -> list[Line]:
        """Everything, in order; returns the lines of the table."""
        with contextlib.closing(self._database):
            async with self._bars():
                await self._send()
                await self._recover()
                dead = await self._repair()
                await self._deliver()
            return await self._verdict(dead)

    async def _send(self) -> None:
        expected = self._plan.expected
        self._show.say(
            f"Sending {len(self._plan.first)} webhooks, {expected.rejected} of them forged or stale ..."
        )
        await send(self._stage.url, self._plan.first, self._answers)
        await self._interfere()
        await self._until("the events to be processed or dead", self._settled)
        self._show.say("Sending some of them again, and one old body under a new delivery id ...")
        await send(self._stage.url, self._plan.later, self._answers)
        await self._until("the replay suspect", lambda: self._database.progress().stored >= expected.accepted)

    async def _interfere(self) -> None:
        """What else happens while the first events are processed: here nothing."""

    def _settled(self) -> bool:
        progress = self._database.progress()
        return progress.moving == 0 and progress.stored >= self._plan.expected.accepted - 1

    async def _recover(self) -> None:
        wanted = self._plan.expected.messages_retried
        self._show.say(
            f"The warehouse is down: waiting until each of its {wanted} messages has been refused ..."
        )
        await self._until("the refusals", lambda: len(received(self._stage.folder).refused) >= wanted)
        self._stage.outage.unlink()
        self._show.say("The warehouse is up again.")

    async def _repair(self) -> list[dict[str, Any]]:
        listed = await self._stage.command(
            "events", "list", "--state", "DEAD", "--limit", EVERYTHING, "--json"
        )
        dead = [event for event in rows(listed) if event["reason"] == "EXHAUSTED"]
        self._show.say(
            f"{len(dead)} invoices are DEAD: the shop has no tax rate for Swiss francs. Adding it, replaying ..."
        )
        rates = self._stage.folder / "tax_rates.json"
        rates.write_text(json.dumps(json.loads(rates.read_text()) | {"chf": 0.081}))
        ids = [event["id"] for event in dead]
        await self._stage.command("events", "replay", *ids, "--reason", "the rate for CHF was missing")
        suspects = self._plan.expected.replay_suspects
        await self._until(
            "the replayed events", lambda: self._database.progress().dead <= suspects and self._settled()
        )
        return dead

    async def _deliver(self) -> None:
        self._show.say("Waiting until every message has been delivered ...")
        messages = self._plan.expected.messages
        await self._until("the deliveries", lambda: self._database.progress().sent >= messages)

    async def _verdict(self, dead: list[dict[str, Any]]) -> list[Line]:
        events = rows(await self._stage.command("events", "list", "--limit", EVERYTHING, "--json"))
        messages = rows(await self._stage.command("messages", "list", "--limit", EVERYTHING, "--json"))
        rejections = rows(await self._stage.command("rejections", "list", "--limit", EVERYTHING, "--json"))
        expected = self._plan.expected
        return [
            *self._ingest_lines(expected, events, rejections),
            *self._event_lines(expected, events, dead),
            *self._interference_lines(events),
            *self._effect_lines(expected),
            *self._message_lines(expected, messages),
        ]

    def _ingest_lines(
        self, expected: Expected, events: list[dict[str, Any]], rejections: list[dict[str, Any]]
    ) -> list[Line]:
        answers = self._answers
        duplicates = sum(event["duplicates"] for event in events)
        return [
            Line("sent", expected.sent, {ANSWERS: answers.sent}),
            Line("accepted", expected.accepted, {ANSWERS: answers.accepted, DATABASE: len(events)}),
            Line("duplicates", expected.duplicates, {ANSWERS: answers.duplicates, DATABASE: duplicates}),
            Line("rejected", expected.rejected, {ANSWERS: answers.rejected, DATABASE: len(rejections)}),
            Line("other answers", 0, {ANSWERS: len(answers.unexpected)}),
        ]

    def _event_lines(
        self, expected: Expected, events: list[dict[str, Any]], dead: list[dict[str, Any]]
    ) -> list[Line]:
        def count(what: Callable[[dict[str, Any]], bool]) -> dict[str, int]:
            return {DATABASE: sum(map(what, events))}

        ids = {event["id"] for event in dead}
        replayed = count(
            lambda event: event["id"] in ids and event["replays"] == 1 and event["state"] == "PROCESSED"
        )
        return [
            Line("processed", expected.processed, count(lambda event: event["state"] == "PROCESSED")),
            Line("retried", expected.retried, count(lambda event: event["attempts"] > 1)),
            Line("dead", expected.dead, {DATABASE: len(dead)}),
            Line("replayed", expected.dead, replayed),
            Line(
                "replay suspects",
                expected.replay_suspects,
                count(lambda event: event["reason"] == "REPLAY_SUSPECT"),
            ),
            Line("ignored (no handler)", expected.ignored, count(lambda event: event["state"] == "IGNORED")),
        ]

    def _interference_lines(self, _events: list[dict[str, Any]]) -> list[Line]:
        """The numbers that follow from ``_interfere``."""
        return []

    def _effect_lines(self, expected: Expected) -> list[Line]:
        lines = []
        twice = 0
        for table, number in expected.effects.items():
            effects = self._database.effects(table)
            twice += sum(rows > 1 for rows in effects.values())
            lines.append(Line(f"rows in {table}", number, {DATABASE: len(effects)}))
        return [*lines, Line("events with two effects", 0, {DATABASE: twice})]

    def _message_lines(self, expected: Expected, messages: list[dict[str, Any]]) -> list[Line]:
        log = received(self._stage.folder)
        sent = {message["id"] for message in messages if message["state"] == "SENT"}
        retried = sum(message["attempts"] > 1 for message in messages)
        delivered = {DATABASE: len(sent), RECEIVER: len(log.delivered)}
        return [
            Line("published", expected.messages, {DATABASE: len(messages)}),
            Line(
                "messages retried", expected.messages_retried, {DATABASE: retried, RECEIVER: len(log.refused)}
            ),
            Line("delivered", expected.messages, delivered),
            Line("delivered, id unknown", 0, {RECEIVER: len(log.delivered - sent)}),
            Line("body changed on retry", 0, {RECEIVER: len(log.changed)}),
            Line("bad signature", 0, {RECEIVER: log.unverified}),
        ]

    async def _until(self, what: str, check: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not check():
            self._stage.check()
            if time.monotonic() > deadline:
                raise DemoError(f"waited {PATIENCE:.0f} s for {what}\n{self._stage.log_ends()}")
            await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def _bars(self) -> AsyncIterator[None]:
        moving = asyncio.create_task(self._move_bars())
        try:
            yield
        finally:
            moving.cancel()
            self._draw()

    async def _move_bars(self) -> None:
        while True:
            self._draw()
            await asyncio.sleep(0.1)

    def _draw(self) -> None:
        progress, expected = self._database.progress(), self._plan.expected
        self._show.bar("webhooks answered", self._answers.sent, expected.sent)
        self._show.bar("events finished", progress.stored - progress.moving, expected.accepted)
        self._show.bar("messages sent", progress.sent, expected.messages)
