"""Whether a key stands once in an object: the quick way of telling agrees with looking at every member."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surehook.packs.reading import require_single

names = st.sampled_from(["id", "data", "x", 'a"id"', "\\id", "Id"])
values: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["id", '"id"', '{"id": 1}', "", 'x\\"id"']) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=6,
)


def written(members: list[tuple[str, Any]], *, escaped: bool) -> bytes:
    """An object whose keys may repeat; ``escaped`` writes the letter d of each key as an escape."""

    def key(name: str) -> str:
        text = json.dumps(name)
        return text.replace("d", "\\u0064") if escaped else text

    return ("{" + ", ".join(f"{key(name)}: {json.dumps(value)}" for name, value in members) + "}").encode()


@given(members=st.lists(st.tuples(names, values), max_size=5), escaped=st.booleans())
def test_a_repeated_key_is_found_and_nothing_else(members: list[tuple[str, Any]], escaped: bool) -> None:
    body = written(members, escaped=escaped)
    if [name for name, _ in members].count("id") > 1:
        with pytest.raises(ValueError, match="holds /id more than once"):
            require_single(body, "id")
    else:
        require_single(body, "id")


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": 1, "data": {"id": 2}, "id": 3}',
        b'{"data": {"id": 2}, "id": 1, "data": {}, "id": 3}',
        b'{"id":{"id":1},"id":{"id":1}}',
        b'{"id": 1, "\\u0069d": 2}',
    ],
)
def test_an_ambiguous_body_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="more than once"):
        require_single(body, "id")


@pytest.mark.parametrize(
    "body",
    [b'{"data": {"id": 1, "id": 2}, "data": {}, "id": 3}', b'{"id": "\\"id\\"", "x": ["id", {"id": 1}]}'],
)
def test_what_stands_inside_values_does_not_matter(body: bytes) -> None:
    require_single(body, "id")
