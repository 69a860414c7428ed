"""Ratios of times on a machine that others may use: the ways take turns within a round.

CPU seconds of the process, which a neighbour's work does not lengthen as it does wall-clock time; on an
accelerator, wall-clock seconds between synchronisations.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from benchmarks.harness.ways import PLAIN

LEAST_SECONDS = 0.2  # of one measurement: shorter calls are repeated
SLOW = 4.0  # ways this many times slower than the floor are run in rounds of their own, and fewer
SLOW_ROUNDS = 3


@dataclass(frozen=True)
class Timing:
    """Time of one call, over that of the floor in the same round."""

    ratio: float  # median over the rounds
    lowest: float
    highest: float
    rounds: int
    seconds: float  # of one call, median


def time_in_turns(ways: Mapping[str, Callable[[], object]], rounds: int, device: str) -> dict[str, Timing]:
    """Time ways that have been called once, interleaved, after a warm-up. `PLAIN` must be among them.

    Slow ways take their turns after the others, with the floor: else they would stretch every round.
    """
    clock = clock_of(device)
    warm = {name: max(_seconds(way, 1, clock), 1e-6) for name, way in ways.items()}
    calls = {name: max(1, round(LEAST_SECONDS / seconds)) for name, seconds in warm.items()}
    slow = [name for name in ways if warm[name] > SLOW * warm[PLAIN]]
    fast = [name for name in ways if name not in slow]
    seconds = _take_turns({name: ways[name] for name in fast}, calls, rounds, clock)
    timings = {name: _timing(values, seconds[PLAIN]) for name, values in seconds.items()}
    if slow:
        some = {name: ways[name] for name in (PLAIN, *slow)}
        seconds = _take_turns(some, calls, min(rounds, SLOW_ROUNDS), clock)
        timings |= {name: _timing(seconds[name], seconds[PLAIN]) for name in slow}
    return {name: timings[name] for name in ways}


def clock_of(device: str) -> Callable[[], float]:
    """A function that gives the time in seconds, when all work given to the device is done."""
    if device == "cpu":
        return time.process_time
    synchronize = getattr(torch, device).synchronize

    def clock() -> float:
        synchronize()
        return time.perf_counter()

    return clock


def _seconds(way: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    """Of one call, over so many."""
    gc.collect()
    started = clock()
    for _ in range(calls):
        way()
    return (clock() - started) / calls


def _take_turns(
    ways: Mapping[str, Callable[[], object]],
    calls: Mapping[str, int],
    rounds: int,
    clock: Callable[[], float],
) -> dict[str, list[float]]:
    """Seconds of one call of each way in each round; every round begins with another way."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(_seconds(ways[name], calls[name], clock))
    return seconds


def _timing(seconds: list[float], floor: list[float]) -> Timing:
    ratios = [mine / its for mine, its in zip(seconds, floor, strict=True)]
    return Timing(
        statistics.median(ratios), min(ratios), max(ratios), len(ratios), statistics.median(seconds)
    )
