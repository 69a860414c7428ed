"""Rows and verdicts as Markdown, as docs/benchmarks.md shows them."""

import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.harness.bars import MEBIBYTE, Verdict
from benchmarks.harness.measurement import Options, Row
from benchmarks.harness.ways import PLAIN, STATISTICS, missing_packages


def header(options: Options) -> Iterator[str]:
    """On what this was measured, and how to read it."""
    kind = "CPU" if options.device == "cpu" else "wall-clock"
    yield f"{machine(options.device)}, {options.rounds} interleaved rounds."
    yield ""
    yield (
        f"Time: {kind} seconds; median over rounds of the ratio to the plain forward and backward pass of "
        "the same round [lowest, highest]. Memory: peak of weights, data and calls, in a process of its own. "
        "Error: the largest over tensors, against a float64 loop over examples, with GELU for ReLU and "
        "averages for max pools."
    )
    absent = missing_packages()
    if absent:
        yield ""
        yield f"Not installed: {', '.join(absent)}."


def machine(device: str) -> str:
    """Versions, processor or accelerator, threads."""
    name = _processor() if device == "cpu" else _accelerator(device)
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{versions}, {name}, {torch.get_num_threads()} thread, float32"


def table(statistic: str, rows: Sequence[Row], options: Options) -> Iterator[str]:
    """All rows of one statistic, and below them why some are empty."""
    yield f"### {statistic}: {STATISTICS[statistic].title}"
    yield ""
    yield "| network, batch | way | time / plain | memory / plain | relative error |"
    yield "|---|---|---|---|---|"
    failures = list(dict.fromkeys(row.failure for row in rows if row.failure))
    for row in rows:
        network = options.network(row.network)
        title = f"{network.title}, {network.batch_size}" if row.way == PLAIN else ""
        mark = f" ({failures.index(row.failure) + 1})" if row.failure else ""
        cells = (_time(row), _memory(row, rows), _errors(row))
        yield f"| {title} | {row.way}{mark} | {' | '.join(cells)} |"
    for number, failure in enumerate(failures, start=1):
        yield ("" if number > 1 else "\n") + f"({number}) {failure}"


def verdict_table(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """The goals, met or not."""
    yield "### Goals"
    yield ""
    yield "| goal | measured | |"
    yield "|---|---|---|"
    for verdict in verdicts:
        yield f"| {verdict.goal} | {verdict.measured} | {'met' if verdict.is_met else '**not met**'} |"


def _time(row: Row) -> str:
    if row.timing is None:
        return "-"
    if row.way == PLAIN:
        return f"1 ({1e3 * row.timing.seconds:.4g} ms)"
    return f"{row.timing.ratio:.2f} [{row.timing.lowest:.2f}, {row.timing.highest:.2f}]"


def _memory(row: Row, rows: Iterable[Row]) -> str:
    if row.peak is None:
        return "-"
    size = f"{row.peak / MEBIBYTE:.0f} MiB"
    plain = next(other.peak for other in rows if (other.network, other.way) == (row.network, PLAIN))
    if row.way == PLAIN:
        return f"1 ({size})"
    return f"{row.peak / plain:.2f} ({size})" if plain else size


def _errors(row: Row) -> str:
    return ", ".join(f"{name} {error:.1e}" for name, error in row.errors.items()) or "-"


def _processor() -> str:
    """Its name: from /proc/cpuinfo on Linux, where `platform` knows none."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _accelerator(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device
