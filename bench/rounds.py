"""Rounds: in each of them every variant has its turn, so that what else the machine does hits all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")


def take_turns(count: int, turns: Mapping[Name, Callable[[int], Result]]) -> list[dict[Name, Result]]:
    """``count`` rounds, each begun by another variant; a turn is given the number of its round.

    The results of each round, in the order of ``turns``.
    """
    rounds = []
    for number in range(count):
        start = number % len(turns)
        order = [*list(turns)[start:], *list(turns)[:start]]
        done = {name: turns[name](number) for name in order}
        rounds.append({name: done[name] for name in turns})
    return rounds
