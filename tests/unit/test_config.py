"""Settings: precedence, units, and one clear message for everything that can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from surehook.config import Loaded, Settings, database_path, examine, load, show, units
from surehook.config.hiding import looks_secret, without_password
from surehook.errors import ConfigurationError


def from_toml(
    tmp_path: Path, text: str, environ: dict[str, str] | None = None, flags: dict[str, object] | None = None
) -> Loaded:
    file = tmp_path / "surehook.toml"
    file.write_text(text)
    return load(file, environ or {}, flags or {})


def problems(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    file = tmp_path / "surehook.toml"
    file.write_text(text)
    return [problem.replace(str(tmp_path) + "/", "") for problem in examine(file, environ or {}, {}).problems]


def test_without_any_source_all_values_are_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(None, {}, {})
    assert loaded.settings == Settings()
    assert loaded.path is None
    assert {str(shown.source) for shown in show(loaded)} == {"default"}


def test_flags_beat_environment_beats_file_beats_defaults(tmp_path: Path) -> None:
    text = "[server]\nport = 1\nhost = 'a'\nkeep_alive = '1s'"
    environ = {"SUREHOOK_SERVER__PORT": "2", "SUREHOOK_SERVER__HOST": "b"}
    loaded = from_toml(tmp_path, text, environ, {"server.port": 3, "server.max_body": None})
    server = loaded.settings.server
    assert (server.port, server.host, server.keep_alive, server.max_body) == (3, "b", 1000, 1024 * 1024)
    sources = {shown.place: shown.source for shown in show(loaded)}
    assert sources["server.port"].kind == "flag"
    assert str(sources["server.host"]) == "SUREHOOK_SERVER__HOST"
    assert sources["server.keep_alive"].kind == "file"
    assert sources["server.max_body"].kind == "default"


def test_the_file_is_found_by_argument_then_variable_then_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("surehook", "variable", "argument"):
        (tmp_path / f"{name}.toml").write_text(f'app = "{name}:app"')
    monkeypatch.chdir(tmp_path)
    environ = {"SUREHOOK_CONFIG": "variable.toml"}
    assert load(None, {}, {}).settings.app == "surehook:app"
    assert load(None, environ, {}).settings.app == "variable:app"
    assert load(Path("argument.toml"), environ, {}).settings.app == "argument:app"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file. `surehook init` writes one."),
        (b"a = !", "not valid TOML: Invalid value (at line 1, column 5)."),
        (b"a = '\xff'", "not UTF-8 text (byte 5)."),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "x.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load(file, {}, {})
    assert str(caught.value) == f"{file}: {message}"


def test_a_directory_in_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load(tmp_path, {}, {})


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b'\xef\xbb\xbfapp = "a:b"')
    assert load(tmp_path / "x.toml", {}, {}).settings.app == "a:b"


@pytest.mark.parametrize(
    ("name", "value", "place", "wanted"),
    [
        ("SUREHOOK_APP", "a.b:c", "app", "a.b:c"),
        ("SUREHOOK_SERVER__PORT", "99", "server.port", 99),
        ("SUREHOOK_SERVER", "{port = 99}", "server.port", 99),
        ("SUREHOOK_LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("SUREHOOK_HANDLERS__RETRIES", "1s, 2m", "handlers.retries", ["1s", "2m"]),
        ("SUREHOOK_HANDLERS__RETRIES", '["1s", "2m"]', "handlers.retries", ["1s", "2m"]),
        (
            "SUREHOOK_PROVIDERS__STRIPE__SECRETS",
            "env:A,file:/b",
            "providers.stripe.secrets",
            ["env:A", "file:/b"],
        ),
        ("SUREHOOK_PROVIDERS__STRIPE__ENABLED", "no", "providers.stripe.enabled", False),
        ("SUREHOOK_PROVIDERS__MY_SHOP__TOLERANCE", "90s", "providers.my-shop.tolerance", "90s"),
        ("SUREHOOK_FORWARD", '[{to = ["ledger"], type = "a.*"}]', "forward[0].type", "a.*"),
        ("SUREHOOK_DESTINATIONS__LEDGER__TIMEOUT", "1.5s", "destinations.ledger.timeout", "1500ms"),
    ],
)
def test_environment(tmp_path: Path, name: str, value: str, place: str, wanted: object) -> None:
    text = (
        '[providers.stripe]\n[providers.my-shop]\npack = "shopify"\n[destinations.ledger]\nurl = "https://l/"'
    )
    loaded = from_toml(tmp_path, text, {name: value})
    shown = {shown.place: shown for shown in show(loaded)}[place]
    assert shown.value == wanted
    assert str(shown.source) == name


@pytest.mark.parametrize(
    "environ",
    [
        {"SUREHOOK_SERVER__PORT": ""},
        {"SUREHOOK_CONFIG": "", "SUREHOOK_DEBUG": "1"},
        {
            "SUREHOOK_PORT": "tcp://10.0.0.1:80",
            "SUREHOOK_SERVICE_HOST": "10.0.0.1",
            "SUREHOOK_PORT_80_TCP_ADDR": "x",
        },
        {"SUREHOOK_CONSOLE_TOKEN": "the secret", "SUREHOOK_CONSOLE__TOKEN": "env:SUREHOOK_CONSOLE_TOKEN"},
        {"SUREHOOK_STRIPE": "a", "SUREHOOK_GITHUB": "b"},
        {"PATH": "/bin", "SUREHOOKS": "1"},
    ],
    ids=["empty", "own", "kubernetes", "secret-of-variable", "secret-of-file", "others"],
)
def test_variables_that_are_no_settings_are_left_alone(tmp_path: Path, environ: dict[str, str]) -> None:
    text = "[providers.stripe]\nsecrets = ['env:SUREHOOK_STRIPE']\n[providers.github]\nsecrets=['env:SUREHOOK_GITHUB']"
    assert from_toml(tmp_path, text, environ).settings.server.port == 8080


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("200ms", 200),
        ("10s", 10_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("30d", 2_592_000_000),
        ("1.5 s", 1500),
    ],
)
def test_durations(text: str, wanted: int) -> None:
    assert units.milliseconds(text) == wanted
    assert units.milliseconds(units.duration_text(wanted)) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1MiB", 1048576), ("64KiB", 65536), ("500KB", 500_000), ("1024", 1024), ("7B", 7), ("2GiB", 2**31)],
)
def test_sizes(text: str, wanted: int) -> None:
    assert units.size(text) == wanted
    assert units.size(units.size_text(wanted)) == wanted


@pytest.mark.parametrize(
    "text", ["", "s", "1", "-1s", "1S", "1 week", "1e3s", "0.0001s", "٣s", "1s2s", "inf"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        units.milliseconds(text)


@pytest.mark.parametrize("text", ["", "MiB", "1mib", "-1", "1.5", "0.0001KB", "٣", "1 TB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        units.size(text)


DURATION = 'expected a duration such as "200ms", "10s", "5m", "1h" or "30d"'
REFERENCE = (
    'expected where the secret is found: "env:NAME" or "file:PATH", never the secret itself; '
    "found {} that is neither (not shown)."
)
DATABASE = (
    'expected "sqlite:///PATH": three slashes and a relative path, four and an absolute one; '
    '"postgresql://USER@HOST:PORT/NAME"; or a reference to such a URL, "env:NAME" or "file:PATH". '
    'Example: database = "sqlite:///surehook.db"'
)
POSTGRES_EXAMPLE = 'Example: "postgresql://surehook@db.example.com:5432/surehook"'
QUEUE = (
    'expected "database", "redis://HOST:PORT/0", "rediss://..." with TLS, "unix:///PATH", or a reference to such a URL, '
    '"env:NAME" or "file:PATH". Example: queue = "redis://localhost:6379/0"'
)
LEDGER = '[destinations.ledger]\nurl = "https://l/"\n'

WRONG = {
    "unknown": ("databse = 'x'", "databse (surehook.toml): unknown setting. Did you mean 'database'?"),
    "unknown-nested": (
        "[server]\nprot = 1",
        "server.prot (surehook.toml): unknown setting. Did you mean 'port'?",
    ),
    "unknown-deep": (
        "[providers.stripe]\nsecret = 'whsec_x'",
        "providers.stripe.secret (surehook.toml): unknown setting. Did you mean 'secrets'?",
    ),
    "unknown-in-list": (
        LEDGER + "[[forward]]\nto = ['ledger']\ntipe = 'x'",
        "forward[0].tipe (surehook.toml): unknown setting. Did you mean 'type'?",
    ),
    "misplaced": (
        "[providers.stripe]\ndatabase = 'x'",
        "providers.stripe.database (surehook.toml): unknown setting. If 'database' is meant: it must stand above the first "
        "[table] of the file, and this is below [providers.stripe].",
    ),
    "misplaced-misspelt": (
        LEDGER + "databse = 'x'",
        "destinations.ledger.databse (surehook.toml): unknown setting. If 'database' is meant: it must stand above the "
        "first [table] of the file, and this is below [destinations.ledger].",
    ),
    "not-misplaced": (
        "[providers.stripe]\npak = 'x'",
        "providers.stripe.pak (surehook.toml): unknown setting. Did you mean 'pack'?",
    ),
    "secret-as-pack": (
        "[providers.acme]\npack = 'whsec_verysecret'",
        "providers.acme.pack (surehook.toml): expected the name of a pack; this looks like a secret (not shown). Put it "
        'into a variable or file, name that in secrets, and renew it if others have seen it. Example: pack = "hmac"',
    ),
    "secret-as-duration": (
        "[providers.slack]\ntolerance = 'sk_live_verysecret'",
        f"providers.slack.tolerance (surehook.toml): {DURATION}, found a text: (not shown: it looks like a secret). "
        'Example: tolerance = "5m"',
    ),
    "port": (
        "[server]\nport = 70000",
        "server.port (surehook.toml): expected a whole number from 0 to 65535, found a number: 70000. Example: port = 8080",
    ),
    "port-text": (
        "[server]\nport = '8080'",
        "server.port (surehook.toml): expected a whole number from 0 to 65535, found a text: '8080'. Example: port = 8080",
    ),
    "port-truth": (
        "[server]\nport = true",
        "server.port (surehook.toml): expected a whole number from 0 to 65535, found true or false: True. "
        "Example: port = 8080",
    ),
    "count": (
        "[handlers]\nthreads = 0",
        "handlers.threads (surehook.toml): expected a whole number of at least 1, found a number: 0. Example: threads = 10",
    ),
    "duration-int": (
        "[handlers]\ntimeout = 30",
        f"handlers.timeout (surehook.toml): {DURATION}, found a number: 30. "
        'Write the unit: "30s" or "30ms". Example: timeout = "30s"',
    ),
    "duration-text": (
        "[handlers]\ntimeout = 'soon'",
        f"handlers.timeout (surehook.toml): {DURATION}, found a text: 'soon'. Example: timeout = \"30s\"",
    ),
    "duration-zero": (
        "[handlers]\npoll = '0s'",
        f"handlers.poll (surehook.toml): {DURATION}, longer than nothing, found a text: '0s'. Example: poll = \"30s\"",
    ),
    "duration-in-list": (
        "[handlers]\nretries = ['1s', 60]",
        f'handlers.retries[1] (surehook.toml): {DURATION}, found a number: 60. Write the unit: "60s" or "60ms".',
    ),
    "seconds": (
        "[providers.slack]\ntolerance = '1500ms'",
        "providers.slack.tolerance (surehook.toml): expected whole seconds, found a text: '1500ms'. "
        'Example: tolerance = "5m"',
    ),
    "size": (
        "[server]\nmax_body = '1 zork'",
        'server.max_body (surehook.toml): expected a size such as "1MiB", "64KiB", "500KB" or a number of bytes, '
        "found a text: '1 zork'. Example: max_body = \"1MiB\"",
    ),
    "list": (
        "[providers.stripe]\nsecrets = 'whsec_verysecret'",
        "providers.stripe.secrets (surehook.toml): expected a list, found a text. "
        'Example: secrets = ["env:STRIPE_SECRET"]',
    ),
    "table": (
        "providers = 3",
        "providers (surehook.toml): expected a table, found a number. Example: providers = { ... }",
    ),
    "provider-no-table": (
        "[providers]\nstripe = 'x'",
        "providers.stripe (surehook.toml): expected a table, found a text.",
    ),
    "table-for-text": (
        "[database]\nurl = 'x'",
        'database (surehook.toml): expected a text, found a table. Example: database = "sqlite:///surehook.db"',
    ),
    "truth": (
        "[providers.stripe]\nenabled = 'perhaps'",
        "providers.stripe.enabled (surehook.toml): expected true or false, found a text: 'perhaps'. "
        "Example: enabled = true",
    ),
    "choice": (
        "log_format = 'xml'",
        "log_format (surehook.toml): expected one of auto, json, text, found a text: 'xml'. Example: log_format = \"auto\"",
    ),
    "app": (
        "app = 'app.py'",
        "app (surehook.toml): expected a name of the form \"module:object\", found a text: 'app.py'. "
        'Example: app = "app:app"',
    ),
    "secret-pasted": (
        "[providers.stripe]\nsecrets = ['whsec_verysecret']",
        "providers.stripe.secrets[0] (surehook.toml): " + REFERENCE.format("a text"),
    ),
    "token-pasted": (
        "[console]\ntoken = 'verysecret'",
        "console.token (surehook.toml): "
        + REFERENCE.format("a text")
        + ' Example: token = "env:STRIPE_SECRET"',
    ),
    "missing": ("[destinations.ledger]", 'destinations.ledger.url: missing. Example: url = "..."'),
    "status": (
        "[providers.stripe]\nresponse_status = 500",
        "providers.stripe.response_status (surehook.toml): expected a whole number from 200 to 299, found a number: 500. "
        "Example: response_status = 200",
    ),
    "provider-name": (
        "[providers.Stripe]",
        'providers.Stripe: a name holds at most 64 of a-z, 0-9, "-" and "_", and starts with a letter or digit.',
    ),
    "destination-name": (
        "[destinations.'a b']\nurl = 'https://l/'",
        'destinations.\'a b\': a name holds at most 64 of a-z, 0-9, "-" and "_", and starts with a letter or digit.',
    ),
    "forward-destination": (
        LEDGER + "[[forward]]\nto = ['legder']",
        "forward[0].to (surehook.toml): there is no destination 'legder'. Did you mean 'ledger'?",
    ),
    "forward-provider": (
        LEDGER + "[providers.stripe]\n[[forward]]\nto = ['ledger']\nprovider = 'strip'",
        "forward[0].provider (surehook.toml): there is no provider 'strip'. Did you mean 'stripe'?",
    ),
    "forward-nowhere": (
        "[[forward]]\nto = []",
        'forward[0].to (surehook.toml): names no destination. Example: to = ["ledger"]',
    ),
    "memory": (
        "database = 'sqlite:///:memory:'",
        "database (surehook.toml): a database in memory would lose every event at the end of the process; name a file.",
    ),
    "database": ("database = 'surehook.db'", f"database (surehook.toml): {DATABASE}"),
    "database-scheme": (
        "database = 'postgresql+psycopg://u:verysecret@h/d'",
        f"database (surehook.toml): postgresql+psycopg:// is not known. Did you mean 'postgresql'? {DATABASE}",
    ),
    "database-reference": (
        "database = 'env:not a name'",
        'database (surehook.toml): a reference is written "env:NAME" or "file:PATH".',
    ),
    "database-options": (
        "database = 'sqlite:///a.db?mode=ro'",
        "database (surehook.toml): ?mode=ro is not understood: the only option is ?synchronous=FULL (the default), EXTRA, "
        "NORMAL or OFF.",
    ),
    "queue": ("queue = 'verysecret'", f"queue (surehook.toml): {QUEUE}"),
    "queue-scheme": (
        "queue = 'amqp://u:verysecret@h'",
        f"queue (surehook.toml): amqp:// is not known. Known: redis, rediss, unix. {QUEUE}",
    ),
    "listen-url": (
        "[postgres]\nlisten_url = 'h:5432'",
        f"postgres.listen_url (surehook.toml): expected a URL of PostgreSQL. {POSTGRES_EXAMPLE}",
    ),
    "connections": (
        "[postgres]\nconections = 5",
        "postgres.conections (surehook.toml): unknown setting. Did you mean 'connections'?",
    ),
    "prefix": (
        "[redis]\nprefix = 'a b'",
        'redis.prefix (surehook.toml): a prefix holds at most 64 of A-Z, a-z, 0-9, "-", "_", ".", ":", "{" and "}". '
        'Example: prefix = "surehook"',
    ),
    "console-open": (
        "[console]\nhost = '0.0.0.0'",
        "console.token: required, since console.host ('0.0.0.0') can be reached from other machines. "
        'Example: token = "env:SUREHOOK_CONSOLE_TOKEN"',
    ),
    "same-port": (
        "[console]\nport = 8080",
        "console.port (surehook.toml): the same as server.port (8080): each needs a port of its own.",
    ),
    "lease": (
        "[handlers]\nlease = '32s'\nheartbeat = '1s'",
        "handlers.lease (surehook.toml): 32s is too short: an attempt may take handlers.timeout (30s) and its commit "
        "handlers.transaction_budget (2s). Make lease longer than 32s, or timeout shorter.",
    ),
    "heartbeat": (
        "[handlers]\nheartbeat = '31s'",
        "handlers.heartbeat (surehook.toml): 31s is too long: one late heartbeat would lose the lease (1m). "
        "Make it 30s or less, or lease longer.",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, message: str) -> None:
    assert problems(tmp_path, text) == [message]
    assert "verysecret" not in message


WRONG_IN_ENVIRONMENT = {
    "unknown": (
        {"SUREHOOK_DATABSE": "x"},
        "databse (SUREHOOK_DATABSE): unknown setting. Did you mean 'database'?",
    ),
    "single-underscore": (
        {"SUREHOOK_LOGLEVEL": "x"},
        "loglevel (SUREHOOK_LOGLEVEL): unknown setting. Did you mean 'log_level'?",
    ),
    "port": (
        {"SUREHOOK_SERVER__PORT": "http"},
        "server.port (SUREHOOK_SERVER__PORT): expected a whole number from 0 to 65535, found a text: 'http'. "
        "Example: port = 8080",
    ),
    "duration": (
        {"SUREHOOK_HANDLERS__POLL": "5"},
        f"handlers.poll (SUREHOOK_HANDLERS__POLL): {DURATION}, found a text: '5'. "
        'Write the unit: "5s" or "5ms". Example: poll = "30s"',
    ),
    "below-a-value": (
        {"SUREHOOK_DATABASE__URL": "x"},
        "database (SUREHOOK_DATABASE__URL): expected a text, found a table. "
        'Example: database = "sqlite:///surehook.db"',
    ),
    "headers": (
        {"SUREHOOK_DESTINATIONS__LEDGER": '{url = "https://l/", headers = "Authorization: verysecret"}'},
        "destinations.ledger.headers (SUREHOOK_DESTINATIONS__LEDGER): expected a table, found a text. "
        "Example: headers = { ... }",
    ),
    "secret": (
        {"SUREHOOK_PROVIDERS__STRIPE__SECRETS": "verysecret"},
        "providers.stripe.secrets[0] (SUREHOOK_PROVIDERS__STRIPE__SECRETS): " + REFERENCE.format("a text"),
    ),
}


@pytest.mark.parametrize(("environ", "message"), WRONG_IN_ENVIRONMENT.values(), ids=WRONG_IN_ENVIRONMENT)
def test_what_is_wrong_in_the_environment_is_told(
    tmp_path: Path, environ: dict[str, str], message: str
) -> None:
    assert problems(tmp_path, "", environ) == [message]


ODD = [
    "1",
    "-1",
    "1.5",
    "true",
    "'x'",
    "[]",
    "[1]",
    "['x', {}]",
    "{}",
    "{a = 1}",
    "[[1]]",
    "2026-01-01",
    "nan",
    "''",
    "'\u2028'",
]


@pytest.mark.parametrize("value", ODD)
def test_no_value_breaks_the_examination(tmp_path: Path, value: str) -> None:
    base = "[providers.stripe]\n[destinations.ledger]\nurl = 'https://l/'\n[[forward]]\nto = ['ledger']"
    places = [shown.place for shown in show(from_toml(tmp_path, base))]
    assert len(places) > 60
    for place in {*places, *(place.rpartition(".")[0].partition("[")[0] or place for place in places)}:
        file = tmp_path / "odd.toml"
        file.write_text(
            f"{place.replace('[0]', '')} = {value}" if "[" not in place else f"forward = [{{ to = {value} }}]"
        )
        for problem in examine(file, {}, {}).problems:
            assert problem.isprintable(), problem


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    text = "databse = 1\n[server]\nport = -1\n[handlers]\nlease = '1s'\n[[forward]]\nto = ['nowhere']"
    found = problems(tmp_path, text, {"SUREHOOK_QUEUE": "redis://"})
    assert [problem.split()[0] for problem in found] == [
        "databse",
        "server.port",
        "queue",
        "handlers.lease",
        "handlers.heartbeat:",
        "forward[0].to",
    ]
    with pytest.raises(ConfigurationError, match="the configuration has 6 problems:\n  - databse"):
        load(tmp_path / "surehook.toml", {"SUREHOOK_QUEUE": "redis://"}, {})


def test_a_rule_is_not_asked_where_its_value_has_a_problem(tmp_path: Path) -> None:
    found = problems(
        tmp_path, "[handlers]\ntimeout = 90\nlease = '31s'\n[destinations]\nx = 1\n[[forward]]\nto = ['x']"
    )
    assert [problem.split()[0] for problem in found] == ["handlers.timeout", "destinations.x"]


def test_nothing_secret_is_shown(tmp_path: Path) -> None:
    text = (
        "[destinations.a]\nurl = 'https://user:verysecret@h/x?token=verysecret'\nsecrets = ['env:A']\n"
        "headers = { Authorization = 'Bearer verysecret' }\n[providers.stripe]\nsecrets = ['file:b', 'env:verysecret']\n"
        "header = 'sk_test_verysecret'"
    )
    shown = {shown.place: shown.value for shown in show(from_toml(tmp_path, text))}
    assert "verysecret" not in repr(shown)
    assert shown["destinations.a.url"] == "https://***@h/x?..."
    assert shown["providers.stripe.header"] == "(not shown)"
    assert shown["database"] == "sqlite:///surehook.db"
    assert shown["destinations.a.headers.Authorization"] == "(not shown)"
    assert shown["destinations.a.secrets"] == ["env:A"]
    assert shown["providers.stripe.secrets"] == ["file:b", "env:(not shown)"]


@pytest.mark.parametrize(
    "text", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "sk_live_x", "9f86d081884c7d659a2f", "ghp_x"]
)
def test_texts_that_look_like_secrets(text: str) -> None:
    assert looks_secret(text)


@pytest.mark.parametrize(
    "text",
    ["stripe", "standard-webhooks", "X-Hub-Signature-256-Of-Acme", "body:/data/v2/x1/y3/z4/a5", "sha256="],
)
def test_texts_that_do_not(text: str) -> None:
    assert not looks_secret(text)


@pytest.mark.parametrize(
    ("host", "needs"),
    [("127.0.0.1", False), ("127.9.9.9", False), ("::1", False), ("localhost", False), ("::", True)],
)
def test_the_console_needs_a_token_unless_only_this_machine_reaches_it(
    tmp_path: Path, host: str, needs: bool
) -> None:
    assert bool(problems(tmp_path, f"[console]\nhost = '{host}'")) is needs
    assert not problems(tmp_path, f"[console]\nhost = '{host}'\ntoken = 'env:T'")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a/b.db", "a/b.db"),
        ("sqlite:////a/b.db", "/a/b.db"),
        ("sqlite:///b.db?synchronous=NORMAL", "b.db"),
    ],
)
def test_the_path_of_a_database(url: str, path: str) -> None:
    assert database_path(url) == Path(path)


def test_stores_may_be_references_and_their_passwords_are_not_shown(tmp_path: Path) -> None:
    text = (
        "database = 'env:DATABASE_URL'\nqueue = 'redis://:verysecret@h/1'\n"
        "[postgres]\nlisten_url = 'postgres://u:verysecret@h/d?sslpassword=verysecret&sslmode=require'"
    )
    environ = {"SUREHOOK_URL": "postgresql://u:verysecret@h/d", "SUREHOOK_DATABASE": "env:SUREHOOK_URL"}
    shown = {shown.place: shown.value for shown in show(from_toml(tmp_path, text, environ))}
    assert shown["database"] == "env:SUREHOOK_URL"
    assert shown["queue"] == "redis://:***@h/1"
    assert shown["postgres.listen_url"] == "postgres://u:***@h/d?sslpassword=***&sslmode=require"
    assert (shown["postgres.timeout"], shown["redis.timeout"]) == ("5s", "2s")
    pasted = {
        shown.place: shown.value for shown in show(from_toml(tmp_path, "database = 'env:verysecret_url'"))
    }
    assert pasted["database"] == "env:(not shown)"


def test_postgres_settings_beside_sqlite_are_no_problem(tmp_path: Path) -> None:
    assert not problems(tmp_path, "[postgres]\nconnections = 5\n[redis]\ntimeout = '1s'")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgresql://u:verysecret@h:1,i:2/d", "postgresql://u:***@h:1,i:2/d"),
        ("postgresql://u:very/secret@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:very@secret@h/d", "postgresql://u:***@h/d"),
        ("postgresql:///d?password=very@secret", "postgresql://***@secret"),
        ("postgresql:///d?host=/run&password=verysecret", "postgresql:///d?host=/run&password=***"),
        ("redis://verysecret@h", "redis://***@h"),
        ("rediss://u:verysecret@h?ssl_password=verysecret", "rediss://u:***@h?ssl_password=***"),
        ("unix:///run/redis.sock?db=1&PASSWORD=verysecret", "unix:///run/redis.sock?db=1&PASSWORD=***"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("database", "database"),
    ],
)
def test_passwords_of_urls_are_hidden(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_both_ports_may_be_left_to_the_system(tmp_path: Path) -> None:
    assert not problems(tmp_path, "[server]\nport = 0\n[console]\nport = 0")
