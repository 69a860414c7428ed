"""One row of the table: time, memory and error of one way to one statistic on one network."""

import gc
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from benchmarks.harness.accuracy import truth_of, way_errors
from benchmarks.harness.memory import peak_in_a_process
from benchmarks.harness.networks import NETWORKS, Network, Problem
from benchmarks.harness.timing import Timing, time_in_turns
from benchmarks.harness.ways import STATISTICS, Statistic, Way

log = logging.getLogger("benchmarks")


@dataclass(frozen=True)
class Options:
    """What to measure, and where."""

    rounds: int = 7
    device: str = "cpu"
    image_size: int | None = None
    batch_size: int | None = None
    slow: bool = True  # also the ways that write out all gradients
    memory: bool = True

    def network(self, key: str) -> Network:
        """The network by its key, at the size asked for."""
        return NETWORKS[key].resized(self.image_size, self.batch_size)


@dataclass(frozen=True)
class Row:
    """What was found. `failure` says why a way could not be run at all."""

    network: str
    statistic: str
    way: str
    timing: Timing | None = None
    peak: int | None = None  # bytes
    errors: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None


def measure(key: str, statistic: str, options: Options) -> list[Row]:
    """A row for each way that is installed, the floor first."""
    chosen, network = STATISTICS[statistic], options.network(key)
    ways = {
        name: way
        for name, way in chosen.ways.items()
        if way.is_installed and (options.slow or not way.writes_out)
    }
    log.info("%s, %s: errors", network.title, statistic)
    rows = _errors(key, statistic, ways, chosen, options)
    log.info("%s, %s: times", network.title, statistic)
    rows = _timed(rows, ways, network, options)
    if options.memory:
        log.info("%s, %s: memory", network.title, statistic)
        rows = {name: _with_peak(row, options) for name, row in rows.items()}
    return list(rows.values())


def _errors(
    key: str, statistic: str, ways: Mapping[str, Way], chosen: Statistic, options: Options
) -> dict[str, Row]:
    """Rows with errors, or with the reason why the way does not work on this network."""
    network = options.network(key)
    truth = truth_of(chosen.truth, network, options.device)
    rows = {}
    for name, way in ways.items():
        try:
            errors = way_errors(way, truth, network, options.device)
            rows[name] = Row(key, statistic, name, errors=errors)
        except Exception as error:  # whatever a peer raises on a network that it does not know
            rows[name] = Row(key, statistic, name, failure=_reason(error))
        gc.collect()
    return rows


def _reason(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first[:120]}"


def _timed(
    rows: Mapping[str, Row], ways: Mapping[str, Way], network: Network, options: Options
) -> dict[str, Row]:
    """The rows with times, or with the reason why the full batch does not work (memory, say)."""
    rows = dict(rows)
    runs: dict[str, Callable[[], object]] = {}
    for name, row in rows.items():
        if row.failure:
            continue
        try:
            run = ways[name].prepare(Problem.of(network, options.device))  # a model of its own
            run()
            runs[name] = run
        except Exception as error:
            rows[name] = replace(row, failure=_reason(error))
    for name, timing in time_in_turns(runs, options.rounds, options.device).items():
        log.info("    %s: %.2f", name, timing.ratio)
        rows[name] = replace(rows[name], timing=timing)
    return rows


def _with_peak(row: Row, options: Options) -> Row:
    if row.failure:
        return row
    try:
        peak = peak_in_a_process(
            row.network, row.statistic, row.way, options.device, options.image_size, options.batch_size
        )
    except RuntimeError as error:
        log.warning("memory of %s: %s", row.way, error)
        return row
    log.info("    %s: %.0f MiB", row.way, peak / 2**20)
    return replace(row, peak=peak)
