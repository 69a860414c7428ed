"""The goals that Concord's ways are held to, and whether a table of rows meets them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.harness.measurement import Row
from benchmarks.harness.networks import NETWORKS
from benchmarks.harness.ours import BUDGET
from benchmarks.harness.ways import OURS, PLAIN, STREAM

TIME = {  # over one forward and one backward pass
    ("S1", "vgg11"): 1.10,
    ("S1", "alexnet"): 1.12,
    ("S1", "cnn"): 1.30,
    ("S1", "mlp"): 1.35,
    ("S1", "resnet18_gn"): 1.20,
    ("S2", "vgg11"): 1.40,
    ("S2", "alexnet"): 1.30,
    ("S2", "cnn"): 1.25,
    ("S2", "mlp"): 1.60,
    ("imputed", "resnet18_bn"): 1.03,
    ("S1", "alexnet_224"): 1.25,
    ("S1", "vgg11_224"): 1.25,
    ("imputed", "resnet50_224"): 1.03,
}
MEMORY = {("S1", "vgg11"): 1.15}  # over the same
ERROR = {"S1": 1e-6, "S2": 1e-5}  # in float32, of each field, on every network
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Verdict:
    """One goal, and what was measured."""

    goal: str
    measured: str
    is_met: bool


def verdicts(rows: Iterable[Row], parameter_bytes: Mapping[str, int]) -> Iterator[Verdict]:
    """Those goals for which `rows` has what is needed; `parameter_bytes` by network."""
    by_name = {(row.statistic, row.network, row.way): row for row in rows}
    for (statistic, network, way), row in by_name.items():
        if way == OURS:
            where = f"{statistic}, {NETWORKS[network].title}"
            same = {
                name: other
                for (kind, where_else, name), other in by_name.items()
                if (kind, where_else) == (statistic, network)
            }
            yield from _times(where, row, same)
            yield from _memory(where, row, same, parameter_bytes[network])
            yield from _errors(where, row, same[PLAIN])


def _times(where: str, ours: Row, same: Mapping[str, Row]) -> Iterator[Verdict]:
    if ours.timing is None:
        yield Verdict(f"{where}: time", "could not be run", is_met=False)
        return
    bound = TIME.get((ours.statistic, ours.network))
    ratio = ours.timing.ratio
    if bound is not None:
        yield Verdict(f"{where}: time <= {bound:.2f} x plain", f"{ratio:.3f}", ratio <= bound)
    peers = {
        name: row.timing.ratio
        for name, row in same.items()
        if name not in (PLAIN, OURS, STREAM) and row.timing
    }
    if peers:
        fastest = min(peers, key=lambda name: peers[name])
        measured = f"{ratio:.3f}; {fastest} {peers[fastest]:.3f}"
        yield Verdict(f"{where}: not slower than the fastest peer", measured, ratio <= peers[fastest])


def _memory(where: str, ours: Row, same: Mapping[str, Row], parameter_bytes: int) -> Iterator[Verdict]:
    plain = same[PLAIN].peak
    if ours.peak is None or plain is None:
        return
    bound = MEMORY.get((ours.statistic, ours.network))
    if bound is not None:
        ratio = ours.peak / plain
        yield Verdict(f"{where}: peak memory <= {bound:.2f} x plain", f"{ratio:.2f}", ratio <= bound)
    if ours.statistic == "S2":
        most = plain + 2 * parameter_bytes + BUDGET
        goal = f"{where}: peak memory <= plain + 2 x parameters + budget = {most / MEBIBYTE:.0f} MiB"
        yield Verdict(goal, f"{ours.peak / MEBIBYTE:.0f} MiB", ours.peak <= most)


def _errors(where: str, ours: Row, plain: Row) -> Iterator[Verdict]:
    for name, error in ours.errors.items() if ours.statistic in ERROR else ():
        goal, bound = f"{where}: relative error of {name}", ERROR[ours.statistic]
        own = plain.errors.get(name, 0.0)
        if own > bound:  # float32 itself is further off: the mean is what plain training computes
            goal, bound = f"{goal}: at most plain's own, {own:.1e}, and a quarter", 1.25 * own
        else:
            goal = f"{goal} <= {bound:.0e}"
        yield Verdict(goal, f"{error:.1e}", error <= bound)
