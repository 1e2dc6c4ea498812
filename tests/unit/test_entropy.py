"""Random bytes in stock: never the same twice, in no thread and no forked process."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from surehook.entropy import random_bytes


def take() -> list[bytes]:
    return [random_bytes(10) for _ in range(2_000)]


def test_of_many_none_is_like_another() -> None:
    with ThreadPoolExecutor(4) as threads:
        taken = [each for some in threads.map(lambda _: take(), range(8)) for each in some]
    assert {len(each) for each in taken} == {10}
    assert len(set(taken)) == len(taken)


def test_every_size_is_given_as_it_is_asked_for() -> None:
    assert [len(random_bytes(size)) for size in (1, 16, 4095, 4096, 7)] == [1, 16, 4095, 4096, 7]


def test_a_forked_process_gives_others_than_its_parent() -> None:
    random_bytes(10)
    there, here = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(here, random_bytes(10))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os.close(here)
    with os.fdopen(there, "rb") as told:
        assert told.read() != random_bytes(10)
