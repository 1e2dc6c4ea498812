"""Which statements of a handler may run in a transaction that other events' handlers share.

What lasts until the end of a transaction (SET LOCAL, an advisory lock, a cursor, a temporary table) would reach the next
event: another tenant's, it may be. So only statements on rows share, and of functions only those that are known to leave
nothing behind: a function of the user's own can call ``set_config``. Everything else gets a transaction of its own. Like the
guard this looks at the text: a trigger or a view can hide what it does.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from surehook.storage.placeholders import pieces

_ON_ROWS: Final = re.compile(r"[\s(]*(?:INSERT|UPDATE|DELETE|MERGE|SELECT|WITH|VALUES)\b", re.IGNORECASE)

#: A name before a parenthesis, and the words that make it no call: a table's columns, the columns or the type of an alias.
_CALL: Final = re.compile(r'(?:\b(INSERT\s+INTO|AS)\s+)?((?:[\w$]|"")(?:[\w$.]|"")*)\s*\(', re.IGNORECASE)
_INTO: Final = re.compile(r"(?<!\bINSERT )(?<!\bMERGE )\bINTO\b", re.IGNORECASE)

#: Words of the language that stand before a parenthesis, types with a length, and functions without a trace.
_WORDS: Final = """
all and any array as between both by case check columns conflict cube cross default distinct do else except exists
filter for from full group grouping having ilike in inner intersect is join key lateral leading left like limit
materialized natural not nothing offset on only or order outer over overlaps partition recursive returning right
rollup row rows select set sets similar skip some symmetric then to trailing union unique update using values when
where window with within

bit char character decimal float interval numeric time timestamp timestamptz varbit varchar varying

abs array_agg array_append array_cat array_length array_position array_prepend array_remove array_to_string avg
bool_and bool_or btrim cardinality cast ceil ceiling char_length character_length chr clock_timestamp coalesce concat
concat_ws convert_from convert_to count cume_dist date_bin date_part date_trunc decode dense_rank digest div encode
every exp extract first_value floor format gen_random_uuid greatest initcap json_agg json_array_elements
json_array_elements_text json_array_length json_build_array json_build_object json_each json_each_text
json_extract_path json_extract_path_text json_object_agg json_populate_record json_to_record json_to_recordset
jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object
jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object_agg
jsonb_object_keys jsonb_path_exists jsonb_path_query jsonb_path_query_array jsonb_path_query_first
jsonb_populate_record jsonb_set jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof lag last_value
lead least length ln log lower lpad ltrim make_date make_interval make_timestamp make_timestamptz max md5 min mod
nextval now nth_value ntile nullif num_nonnulls num_nulls octet_length ordinality overlay percent_rank
percentile_cont percentile_disc position power quote_ident quote_literal quote_nullable random rank regexp_match
regexp_matches regexp_replace regexp_split_to_array repeat replace reverse round row_number row_to_json rpad rtrim
sha224 sha256 sha384 sha512 sign split_part sqrt starts_with statement_timestamp string_agg string_to_array strpos
substr substring sum timezone to_char to_date to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector
transaction_timestamp translate trim trunc unnest upper uuidv4 uuidv7 websearch_to_tsquery
"""
_HARMLESS: Final = frozenset(_WORDS.split())


@lru_cache(maxsize=2_000)
def may_share(sql: str) -> bool:
    """Whether this leaves nothing in its transaction but rows and their locks, as far as the text tells."""
    replaced = {"text": "''", "comment": " ", "name": '""'}
    code = "".join(replaced.get(kind, piece) for kind, piece in pieces(sql))
    code = re.sub(r"\s*\.\s*", ".", " ".join(code.split()))
    # SELECT ... INTO makes a table
    return (
        bool(_ON_ROWS.match(code)) and not _INTO.search(code) and all(map(_is_harmless, _CALL.finditer(code)))
    )


def _is_harmless(call: re.Match[str]) -> bool:
    return bool(call[1]) or call[2].lower() in _HARMLESS
