"""/livez and /readyz."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.unit.ingest.http_support import ANY_PORT, PATIENCE, Client, Reply, Sites, get, problem

from surehook.config import ServerSettings
from surehook.ingest.health import Check, HealthApp, Readiness
from surehook.ingest.server import Server


async def fine() -> str | None:
    return None


async def full() -> str | None:
    return "12 MiB free of /srv, at least 64 MiB wanted"


async def broken() -> str | None:
    raise ValueError("bad luck")


async def stuck() -> str | None:
    await asyncio.Event().wait()
    return None


async def ask(sites: Sites, app: HealthApp, data: bytes) -> Reply:
    server = await sites.run(Server(app, ANY_PORT, ServerSettings()))
    async with await Client.to(server.port) as client:
        client.send(data)
        return await client.reply()


async def test_alive_whatever_the_checks_say(sites: Sites) -> None:
    reply = await ask(sites, HealthApp(Readiness({"disk": full})), get("/livez"))
    assert (reply.status, reply.json) == (200, {"status": "pass"})


async def test_ready_when_every_check_passes(sites: Sites) -> None:
    reply = await ask(sites, HealthApp(Readiness({"disk": fine, "schema": fine})), get("/readyz"))
    assert (reply.status, reply.json) == (
        200,
        {"status": "pass", "checks": {"disk": "pass", "schema": "pass"}},
    )
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("check", "reason"),
    [(full, "12 MiB free"), (broken, "ValueError: bad luck"), (stuck, "no result within 0.05 s")],
)
async def test_not_ready_names_the_check_and_the_reason_only_where_it_is_private(
    sites: Sites, check: Check, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    readiness = Readiness({"disk": check, "schema": fine}, deadline=0.05)
    with caplog.at_level(logging.WARNING):
        public = await ask(sites, HealthApp(readiness), get("/readyz"))
    assert public.status == 503
    assert public.json == {"status": "fail", "checks": {"disk": "fail", "schema": "pass"}}
    assert reason in caplog.text
    private = await ask(sites, HealthApp(readiness, details=True), get("/readyz"))
    assert private.json["checks"]["disk"].startswith(f"fail: {reason}")


async def test_not_ready_while_draining(sites: Sites) -> None:
    site = await sites.site()
    assert (await site.ask(get("/readyz"))).status == 200
    site.readiness.draining = True
    assert (await site.ask(get("/readyz"))).status == 503
    assert (await site.ask(get("/livez"))).status == 200


async def test_those_who_ask_at_once_share_one_run_of_the_checks() -> None:
    runs, go = 0, asyncio.Event()

    async def check() -> str | None:
        nonlocal runs
        runs += 1
        await go.wait()
        return None

    readiness = Readiness({"write path": check}, deadline=PATIENCE)
    asking = [asyncio.create_task(readiness.reasons()) for _ in range(10)]
    await asyncio.sleep(0.01)
    asking[0].cancel()  # one who leaves takes nothing from the others
    go.set()
    assert [await each for each in asking[1:]] == [{"write path": None}] * 9
    assert runs == 1
    await readiness.reasons()
    assert runs == 2


async def test_other_methods_and_paths(sites: Sites) -> None:
    app = HealthApp(Readiness({}))
    reply = await ask(sites, app, get("/readyz").replace(b"GET", b"PUT"))
    assert (reply.status, reply.headers["allow"], problem(reply)) == (405, "get, head", "method-not-allowed")
    reply = await ask(sites, app, get("/else"))
    assert (reply.status, problem(reply)) == (404, "not-found")
    server = await sites.run(Server(app, ANY_PORT, ServerSettings()))
    async with await Client.to(server.port) as client:
        client.send(get("/livez", "Connection: close").replace(b"GET", b"HEAD"))
        head = await client.closed()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert head.endswith(b"\r\n\r\n")
