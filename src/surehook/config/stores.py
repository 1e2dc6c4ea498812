"""Where databases and queues are: their URLs, and what is wrong with one.

Both hold passwords, so no message repeats more of a URL than the names of its scheme and its options. Each may also be
a reference, ``env:NAME`` or ``file:PATH``, to a URL that is kept elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from surehook.config.hiding import looks_secret
from surehook.errors import ConfigurationError, did_you_mean, nearest

_REFERENCE: Final = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)")
_SQLITE_OPTIONS: Final = re.compile("synchronous=(full|extra|normal|off)", re.IGNORECASE)
#: As libpq reads it: the first "@" ends the login, whatever stands before it.
_POSTGRES: Final = re.compile(r"postgres(?:ql)?://(?:[^@/]*@)?([^/?]*)(?:/([^?]*))?(?:\?(.*))?", re.DOTALL)
_REDIS: Final = re.compile(r"rediss?://(?:[^@/?]*@)?([^/?]*)(?:/([^?]*))?(?:\?(.*))?", re.DOTALL)
_SOCKET: Final = re.compile(r"unix://(?:[^@/?]*@)?([^/?]*)(/[^?]*)?(?:\?(.*))?", re.DOTALL)
#: A host, an address in brackets or a folder written with "%2F", and a port.
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::([^:\[\]]*))?")

_LIBPQ: Final = """
application_name channel_binding client_encoding connect_timeout dbname fallback_application_name gssdelegation
gssencmode gsslib host hostaddr keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname
load_balance_hosts max_protocol_version min_protocol_version oauth_client_id oauth_client_secret oauth_issuer oauth_scope
options passfile password port require_auth requirepeer service ssl ssl_max_protocol_version ssl_min_protocol_version
sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey sslmode sslnegotiation sslpassword sslrootcert sslsni
target_session_attrs tcp_user_timeout user
"""
_REDIS_PY: Final = """
client_name db password ssl_ca_certs ssl_ca_path ssl_cert_reqs ssl_certfile ssl_check_hostname ssl_ciphers
ssl_keyfile ssl_min_version ssl_password username
"""
#: What libpq 18 takes, but for ``replication`` and what it keeps for tests.
POSTGRES_OPTIONS: Final = frozenset(_LIBPQ.split())
#: What redis-py takes, but for its timeouts, retries and protocol, which Surehook sets.
REDIS_OPTIONS: Final = frozenset(_REDIS_PY.split())
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    # the others lead to where nothing can be written
    "target_session_attrs": ("any", "read-write", "primary"),
    "ssl_cert_reqs": ("none", "optional", "required"),
}

_POSTGRES_EXAMPLE: Final = 'Example: "postgresql://surehook@db.example.com:5432/surehook"'
_REDIS_EXAMPLE: Final = 'Example: queue = "redis://localhost:6379/0"'
_ENCODE: Final = (
    "In a name or password, write \"%40\" for '@', \"%2F\" for '/', \"%3A\" for ':', \"%3F\" for '?', "
    "\"%23\" for '#' and \"%25\" for '%'"
)


def is_reference(text: str) -> bool:
    """Whether a text says where a secret is found, ``env:NAME`` or ``file:PATH``."""
    return bool(_REFERENCE.fullmatch(text))


def is_postgres(url: str) -> bool:
    """Whether a URL is one of PostgreSQL."""
    return url.startswith(("postgresql://", "postgres://"))


def check_setting(value: str, check: Callable[[str], None]) -> None:
    """Raises ConfigurationError for what is neither a reference nor a URL that passes the check. Nothing is looked up."""
    if not value.startswith(("env:", "file:")):
        check(value)
    elif not is_reference(value):
        raise ConfigurationError('a reference is written "env:NAME" or "file:PATH".')


def check_database(url: str) -> None:
    """Raises ConfigurationError when no database can be at this URL."""
    if is_postgres(url):
        check_postgres(url)
    else:
        database_path(url)


def database_path(url: str) -> Path:
    """The file of ``sqlite:///PATH``; a relative path is relative to the working directory.

    Raises ConfigurationError when it is anything else.
    """
    scheme, _, rest = url.partition("://")
    if scheme != "sqlite" or not rest.startswith("/") or len(rest) < 2:
        raise ConfigurationError(_no_database(url))
    if rest.startswith("/:memory:"):
        raise ConfigurationError(
            "a database in memory would lose every event at the end of the process; name a file."
        )
    path, mark, options = rest.partition("?")
    if mark and not _SQLITE_OPTIONS.fullmatch(options):
        raise ConfigurationError(
            f"?{options} is not understood: the only option is ?synchronous=FULL (the default), "
            "EXTRA, NORMAL or OFF."
        )
    return Path(path[1:])


def check_postgres(url: str) -> None:
    """Raises ConfigurationError for a URL that libpq would not understand, or that names no database."""
    found = _POSTGRES.fullmatch(url)
    if found is None:
        raise ConfigurationError(f"expected a URL of PostgreSQL. {_POSTGRES_EXAMPLE}")
    hosts, name, query = found[1], found[2] or "", found[3] or ""
    _check_characters(url, [*found.groups("")], _POSTGRES_EXAMPLE)
    for host in hosts.split(","):
        _check_host(host, _POSTGRES_EXAMPLE)
    if "/" in name:
        raise ConfigurationError(f"more than one '/' stands behind the host. {_ENCODE}. {_POSTGRES_EXAMPLE}")
    options = dict(_options(query, POSTGRES_OPTIONS))
    if not name and not options.get("dbname") and not options.get("service"):
        raise ConfigurationError(f"the URL names no database behind the host. {_POSTGRES_EXAMPLE}")


def check_queue(url: str) -> None:
    """Raises ConfigurationError for what is neither ``database`` nor a URL of Redis."""
    if url == "database":
        return
    found = _REDIS.fullmatch(url) or _SOCKET.fullmatch(url)
    if found is None:
        raise ConfigurationError(_no_queue(url))
    host, path, query = found.groups("")
    _check_characters(url, [host, path, query], _REDIS_EXAMPLE)
    _check_splitting(url)
    if url.startswith("unix:"):
        _check_socket(host, path)
    else:
        _check_redis(host, path)
    if not dict(_options(query, REDIS_OPTIONS)).get("db", "0").isdecimal():
        raise ConfigurationError(f"the option db is a number. {_REDIS_EXAMPLE}")


def _check_splitting(url: str) -> None:
    """Python's own reading of URLs, which redis-py uses: it refuses more characters, and quotes the login then."""
    try:
        urlsplit(url)
    except ValueError:
        raise ConfigurationError(
            "the URL holds a character that must be encoded: a letter or sign beyond ASCII, '[' or ']'. Write each byte of "
            f"its UTF-8 as '%' and two digits, \"%5B\" for '['. {_REDIS_EXAMPLE}"
        ) from None


def _check_redis(host: str, path: str) -> None:
    _check_host(host, _REDIS_EXAMPLE)
    if not host or host.startswith(":"):
        raise ConfigurationError(f"the URL names no host. {_REDIS_EXAMPLE}")
    if path and not path.isdecimal():
        raise ConfigurationError(f"behind the host stands the number of a database. {_REDIS_EXAMPLE}")


def _check_socket(host: str, path: str) -> None:
    if host or len(path) < 2:
        raise ConfigurationError(
            'three slashes begin the path of a socket. Example: queue = "unix:///run/redis/redis.sock?db=0"'
        )


def _check_characters(url: str, parts: list[str], example: str) -> None:
    """``parts``: what stands behind the login."""
    if any(character <= " " or character == "\x7f" for character in url):
        raise ConfigurationError(f"the URL holds a space or a control character: remove it. {example}")
    if any("@" in part for part in parts) or "#" in url or re.search("%(?![0-9A-Fa-f]{2})", url):
        raise ConfigurationError(f"the URL holds a character that must be encoded. {_ENCODE}. {example}")
    try:
        bare = unquote(url, errors="strict")
    except UnicodeDecodeError:
        bare = "\0"
    if "\0" in bare:
        raise ConfigurationError(
            f"what is encoded in the URL, '%' and two digits, is no UTF-8 text. {_ENCODE}. {example}"
        )


def _check_host(host: str, example: str) -> None:
    found = _HOST.fullmatch(host)
    if found is None:
        raise ConfigurationError(f"the host is none; an IPv6 address stands in brackets, [::1]. {example}")
    port = found[1]
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
        raise ConfigurationError(f"the port is no number from 1 to 65535. {_ENCODE}. {example}")


def _options(query: str, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    """The options of a URL. Raises ConfigurationError for one that is unknown, or has a value that it cannot have."""
    for part in filter(None, query.split("&")):
        name, mark, value = part.partition("=")
        value = unquote(value)
        if name not in known:
            near = nearest(name, known)
            hint = f" Did you mean {near!r}?" if near else ""
            raise ConfigurationError(f"?{_shown(name)} is no option of this URL.{hint}")
        if not mark:
            raise ConfigurationError(f"?{name} needs a value: ?{name}=...")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ConfigurationError(f"?{name} is one of {', '.join(_CHOICES[name])}.")
        yield name, value


def _shown(name: str) -> str:
    return name if re.fullmatch("[a-z_]{1,40}", name) and not looks_secret(name) else "..."


def _no_database(text: str) -> str:
    if re.match(r"\s*(host|hostaddr|dbname|user|port|service|password)\s*=", text):
        return f"this is libpq's form of keywords; write a URL. {_POSTGRES_EXAMPLE}"
    return (
        f'{_scheme(text, ("sqlite", "postgresql"))}expected "sqlite:///PATH": three slashes and a relative path, four '
        'and an absolute one; "postgresql://USER@HOST:PORT/NAME"; or a reference to such a URL, "env:NAME" or '
        '"file:PATH". Example: database = "sqlite:///surehook.db"'
    )


def _no_queue(text: str) -> str:
    known = _scheme(text, ("redis", "rediss", "unix"))
    return (
        f'{known}expected "database", "redis://HOST:PORT/0", "rediss://..." with TLS, "unix:///PATH", or a reference to '
        f'such a URL, "env:NAME" or "file:PATH". {_REDIS_EXAMPLE}'
    )


def _scheme(text: str, known: tuple[str, ...]) -> str:
    """What to say of an unknown scheme, if there is one."""
    scheme, mark, _ = text.partition("://")
    if not mark or scheme in known or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,30}", scheme):
        return ""
    return f"{scheme}:// is not known. {did_you_mean(scheme.partition('+')[0].lower(), known)} "
