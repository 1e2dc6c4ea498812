"""What a connection's session is told: once for a direct connection, with each transaction behind a pooler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Surehook's own statements find rows by an index, in its order, and by nothing else. A plan made once, for any values,
#: costs no planning again; but made by the statistics of an empty table it would look at every row, or sort the whole
#: backlog for each claim, and it is kept until statistics are gathered next.
SIMPLE_PLANS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
#: What people look for varies, and an index for one state is used only when the planner sees that state.
PLANS_FOR_VALUES: Final = {"plan_cache_mode": "force_custom_plan"}

#: The server notices also in the middle of a statement that its client, or the pooler that had one, is gone. Who waits for a
#: lock would else go on waiting, with all that it has locked itself, while its client tries again on the next connection.
NOTICE_IN_STATEMENTS: Final = {"client_connection_check_interval": "2s"}

#: The server notices by itself that its client is gone: its own default for keepalives is two hours.
NOTICE_THE_END: Final = {
    **NOTICE_IN_STATEMENTS,
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20000",
}


#: The most that the server takes for a time, in milliseconds: almost 25 days.
_LONGEST: Final = 2**31 - 1


def idle_end(milliseconds: int) -> dict[str, str]:
    """Who vanishes, stands still or forgets in the middle of a transaction must not keep its locks longer."""
    return {"idle_in_transaction_session_timeout": str(min(milliseconds, _LONGEST))}


def lock_end(milliseconds: int) -> dict[str, str]:
    """Who waits for a row that somebody has locked is to hear of it while there is time for those that wait with it."""
    return {"lock_timeout": str(milliseconds)}


def for_session(settings: Mapping[str, str]) -> str:
    """The statements that set them until the connection ends."""
    return " ".join(f"SET {name} = '{value}';" for name, value in settings.items())


def for_transaction(settings: Mapping[str, str]) -> str:
    """The one statement that sets them until the transaction ends."""
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
