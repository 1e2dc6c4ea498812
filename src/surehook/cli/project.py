"""The files of a new project."""

from __future__ import annotations

from typing import Final

SETTINGS: Final = """\
# Settings of Surehook. `surehook config check` checks them, `surehook config show` shows all of them.
app = "app:app"                              # module:object with the handlers
database = "sqlite:///surehook.db"

[server]
host = "127.0.0.1"
port = 8080                                  # destinations.ledger.url, below, names it too: change both

# Each sender gets a table; its name stands in its URL: http://127.0.0.1:8080/webhooks/github
[providers.github]
secrets = ["file:secrets/github"]

[providers.stripe]
secrets = ["file:secrets/stripe"]

# Where messages go that handlers publish. To have something to look at without a second service, this one sends
# them back to this very Surehook (the port is that of [server], or of `run --port`), as the webhooks of a provider of
# the same name. Put your own receiver's URL here.
[destinations.ledger]
url = "http://127.0.0.1:8080/webhooks/ledger"
secrets = ["file:secrets/ledger"]
allow_private = true                         # plain http and addresses of this machine: for development

[providers.ledger]
pack = "standard-webhooks"
secrets = ["file:secrets/ledger"]
"""

APP: Final = '''\
"""Handlers: each runs in one transaction with what it writes and what it publishes.

An event can be replayed, and then runs again: the inserts below leave a row that is there already as it is.
"""

import logging

from surehook import App, Event, Transaction

app = App()
log = logging.getLogger(__name__)


@app.setup
async def tables(tx: Transaction) -> None:
    await tx.execute("CREATE TABLE IF NOT EXISTS activity (event TEXT PRIMARY KEY, type TEXT NOT NULL, about TEXT)")


@app.on("github", "*")
async def record_activity(event: Event, tx: Transaction) -> None:
    repository = event.data.get("repository", {}).get("full_name")
    await tx.execute(
        "INSERT INTO activity (event, type, about) VALUES (:event, :type, :about) ON CONFLICT DO NOTHING",
        {"event": event.id, "type": event.type, "about": repository},
    )
    tx.publish("ledger", type="activity.recorded", data={"event": event.id, "repository": repository})


@app.on("stripe", "invoice.*")
async def record_invoice(event: Event, tx: Transaction) -> None:
    invoice = event.data["data"]["object"]["id"]
    log.info("invoice %s", invoice)  # this line carries the event's id, provider, type and attempt by itself
    await tx.execute(
        "INSERT INTO activity (event, type, about) VALUES (:event, :type, :about) ON CONFLICT DO NOTHING",
        {"event": event.id, "type": event.type, "about": invoice},
    )
    tx.publish("ledger", type="invoice.recorded", data={"event": event.id, "invoice": invoice})
'''

ENVIRONMENT: Final = """\
# Surehook reads no .env file, nor this one. Copy it to .env and hand that to the process: EnvironmentFile= of systemd,
# --env-file of a container, or in a shell: set -a; . ./.env; set +a
#
# Every setting can come from the environment: SUREHOOK_ and its name, tables joined by two underscores.
# SUREHOOK_SERVER__HOST=0.0.0.0
# SUREHOOK_DATABASE=sqlite:////var/lib/surehook/surehook.db
# SUREHOOK_LOG_LEVEL=INFO
#
# A database with a password: let surehook.toml say database = "env:DATABASE_URL" (pip install 'surehook[postgres]').
# DATABASE_URL=postgresql://surehook:...@db.example.com:5432/surehook
#
# Secrets in production: name a variable of your own in surehook.toml, secrets = ["env:STRIPE_SECRET"].
# STRIPE_SECRET=whsec_...
"""

IGNORED: Final = """\
secrets/
.env
*.db
*.db-*
__pycache__/
"""
