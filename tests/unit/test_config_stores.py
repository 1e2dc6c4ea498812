"""URLs of databases and queues: what is understood, what is told of the rest, and never a password."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo
from redis.asyncio.connection import parse_url

from surehook.config import check_database, check_postgres, check_queue, is_reference
from surehook.config.stores import POSTGRES_OPTIONS, REDIS_OPTIONS
from surehook.errors import ConfigurationError

ENCODE = "In a name or password, write \"%40\" for '@', \"%2F\" for '/'"
NO_PORT = "the port is no number from 1 to 65535. " + ENCODE
NO_NAME = "the URL names no database behind the host."
MUST_BE_ENCODED = "the URL holds a character that must be encoded. " + ENCODE


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("postgresql://h/d", {"host": "h", "dbname": "d"}),
        ("postgres://u@h:1/d", {"user": "u", "host": "h", "port": "1", "dbname": "d"}),
        ("postgresql://u:p%40%2F%25@h/d", {"user": "u", "password": "p@/%", "host": "h", "dbname": "d"}),
        ("postgresql://u:a?b:c@h/d", {"user": "u", "password": "a?b:c", "host": "h", "dbname": "d"}),
        ("postgresql://h:1,i:2/d", {"host": "h,i", "port": "1,2", "dbname": "d"}),
        ("postgresql://[::1]:5/d", {"host": "::1", "port": "5", "dbname": "d"}),
        ("postgresql://%2Frun/d", {"host": "/run", "dbname": "d"}),
        ("postgresql:///d?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "d"}),
        ("postgresql://h?dbname=d", {"host": "h", "dbname": "d"}),
        ("postgresql:///?service=s", {"service": "s"}),
        (
            "postgresql://h/d?sslmode=verify-full&target_session_attrs=read-write",
            {"host": "h", "dbname": "d", "sslmode": "verify-full", "target_session_attrs": "read-write"},
        ),
    ],
)
def test_a_url_of_postgres_is_read_as_libpq_reads_it(url: str, wanted: dict[str, str]) -> None:
    check_database(url)
    check_postgres(url)
    assert conninfo_to_dict(url) == wanted


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("postgresql://u:verysecret@h", NO_NAME),
        ("postgresql://u:verysecret@h/", NO_NAME),
        ("postgresql://u:verysecret@h/?dbname=", NO_NAME),
        ("postgresql://u:verysecret@h:x/d", NO_PORT),
        ("postgresql://u:verysecret@h:65536/d", NO_PORT),
        ("postgresql://u:verysecret@h:0/d", NO_PORT),
        ("postgresql://u:verysecret@h:\u0663/d", NO_PORT),
        ("postgresql://u:very/secret@h/d", MUST_BE_ENCODED),
        ("postgresql://u:verysecret%FF@h/d", "what is encoded in the URL"),
        ("postgresql://u:verysecret%00@h/d", "what is encoded in the URL"),
        ("postgresql://u:very@secret@h/d", MUST_BE_ENCODED),
        ("postgresql://u:very#secret@h/d", MUST_BE_ENCODED),
        ("postgresql://u:very%secret@h/d", MUST_BE_ENCODED),
        ("postgresql://u:very secret@h/d", "the URL holds a space or a control character"),
        ("postgresql://u:verysecret@h/d\n", "the URL holds a space or a control character"),
        ("postgresql://u:verysecret@::1:5432/d", "an IPv6 address stands in brackets"),
        ("postgresql://u:verysecret@h/d/e", "more than one '/' stands behind the host."),
        (
            "postgresql://u:verysecret@h/d?sslmod=require",
            "?sslmod is no option of this URL. Did you mean 'sslmode'?",
        ),
        ("postgresql://u:verysecret@h/d?replication=true", "?replication is no option of this URL."),
        ("postgresql://u:verysecret@h/d?VERY=verysecret", "?... is no option of this URL."),
        ("postgresql://u:verysecret@h/d?sslmode", "?sslmode needs a value: ?sslmode=..."),
        (
            "postgresql://u:verysecret@h/d?sslmode=on",
            "?sslmode is one of disable, allow, prefer, require, verify-ca",
        ),
        (
            "postgresql://h/d?target_session_attrs=standby",
            "?target_session_attrs is one of any, read-write, primary.",
        ),
        (
            "host=h dbname=d password=verysecret",
            "this is libpq's form of keywords; write a URL. Example: \"postgresql://",
        ),
        ("POSTGRESQL://u:verysecret@h/d", "POSTGRESQL:// is not known. Did you mean 'postgresql'?"),
        ("mysql://u:verysecret@h/d", "mysql:// is not known. Known: postgresql, sqlite. expected"),
        ("very secret://", 'expected "sqlite:///PATH"'),
    ],
)
def test_what_is_wrong_with_the_url_of_a_database_is_told(url: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_database(url)
    assert str(caught.value).startswith(complaint) or complaint in str(caught.value)
    assert "very" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://h", {"host": "h"}),
        ("redis://h:1/2", {"host": "h", "port": 1, "db": 2}),
        ("redis://h:1/", {"host": "h", "port": 1}),
        ("redis://:p%40%2F@h", {"password": "p@/", "host": "h"}),
        ("redis://u:p@[::1]:2/0", {"username": "u", "password": "p", "host": "::1", "port": 2, "db": 0}),
        ("rediss://h?ssl_cert_reqs=required&db=3", {"host": "h", "ssl_cert_reqs": "required", "db": 3}),
        ("unix:///run/r.sock?db=1&password=p", {"path": "/run/r.sock", "db": 1, "password": "p"}),
    ],
)
def test_a_url_of_redis_is_read_as_its_client_reads_it(url: str, wanted: dict[str, object]) -> None:
    check_queue(url)
    found = {name: value for name, value in parse_url(url).items() if name != "connection_class"}
    assert found == wanted


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("redis://", "the URL names no host."),
        ("redis://:1/0", "the URL names no host."),
        ("redis://:verysecret@/0", "the URL names no host."),
        ("redis://:verysecret@h:x", NO_PORT),
        ("redis://:verysecret@h/one", "behind the host stands the number of a database."),
        ("redis://:verysecret@h/0/1", "behind the host stands the number of a database."),
        ("redis://:verysecret@h?db=one", "the option db is a number."),
        ("redis://:very/secret@h/0", MUST_BE_ENCODED),
        ("redis://:very@secret@h/0", MUST_BE_ENCODED),
        ("redis://:very#secret@h/0", MUST_BE_ENCODED),
        ("redis://:verysecret%FF@h/0", "what is encoded in the URL"),
        # Python would quote all of the login
        ("redis://:verysecret\u2100@h/0", "the URL holds a character that must be encoded"),
        ("redis://:verysecret[@h/0", "the URL holds a character that must be encoded"),
        ("redis://:verysecret@h?socket_timeout=9", "?socket_timeout is no option of this URL."),
        ("rediss://h?ssl_cert_reqs=no", "?ssl_cert_reqs is one of none, optional, required."),
        ("unix://run/redis.sock", "three slashes begin the path of a socket."),
        ("unix:///", "three slashes begin the path of a socket."),
        ("rediz://:verysecret@h", "rediz:// is not known. Did you mean 'redis'?"),
        ("localhost:6379", 'expected "database", "redis://HOST:PORT/0"'),
        ("", 'expected "database", "redis://HOST:PORT/0"'),
    ],
)
def test_what_is_wrong_with_the_url_of_a_queue_is_told(url: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_queue(url)
    assert str(caught.value).startswith(complaint)
    assert "verysecret" not in str(caught.value)


def test_every_option_of_libpq_is_known() -> None:
    options = {each.keyword.decode(): (each.dispchar or b"").decode() for each in Conninfo.get_defaults()}
    assert {name for name, kind in options.items() if kind != "D"} | {"ssl"} == POSTGRES_OPTIONS


def test_every_option_of_redis_reaches_a_connection() -> None:
    values = {"db": "1", "protocol": "3", "ssl_check_hostname": "true", "ssl_min_version": "771"}
    query = "&".join(f"{name}={values.get(name, 'required')}" for name in sorted(REDIS_OPTIONS))
    check_queue(f"rediss://h?{query}")
    found = parse_url(f"rediss://h?{query}")
    kind: Callable[..., object] = found.pop("connection_class")
    kind(**found)  # raises TypeError for one that it does not know


@pytest.mark.parametrize("text", ["env:DATABASE_URL", "env:_a1", "file:/run/secrets/database", "file:a b"])
def test_references(text: str) -> None:
    assert is_reference(text)


@pytest.mark.parametrize("text", ["env:", "env:A B", "env:1A", "file:", "ENV:A", "postgresql://h/d", ""])
def test_no_references(text: str) -> None:
    assert not is_reference(text)
