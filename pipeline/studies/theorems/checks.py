"""What LUCK's theory says, held against the tables: each theorem's findings with a verdict.

Identities are held to float64's rounding. What is drawn at random (Theorem 4, Assumption 3, top-down
modulation) has thresholds set on root seeds 200 to 204; where the paper names no number and its constants
are lost, a number is reported and not judged.
"""

import math
from collections.abc import Iterable
from statistics import fmean, median

from pipeline.studies.theorems.tables import (
    AngleRow,
    CheckRow,
    ConservationRow,
    DynamicsRow,
    ModulationRow,
    OverlapRow,
    RecursionRow,
)

EXACT = 1.0e-10  # of identities, relative
HALVING = 0.5  # how far a growth at four times the learning rate may be from four times as much
CONTROL_SLOPE = 0.01  # at least, where nothing is conserved: else the check could say yes to anything
LESS_OVERLAP = 0.9  # of the first layer's overlap that is left at lower biases
FIRST_LAYER_ROWS, EVERY_LAYER_RATIO = 0.7, 1.0  # of H*, after matching


def recursion(rows: Iterable[RecursionRow]) -> list[CheckRow]:
    """Theorem 1."""
    deviation = max(row.deviation for row in rows)
    return [_at_most("Theorem 1", "gradient by the recursion less autograd's, greatest", deviation, EXACT)]


def dynamics(rows: Iterable[DynamicsRow]) -> list[CheckRow]:
    """Theorem 2."""
    rows = list(rows)
    exact = {
        "linear networks, all layers": [row for row in rows if row.network == "linear"],
        "ReLU networks, top layer": [row for row in rows if row.network == "relu" and row.top],
        "ReLU networks whose every gate is open, all layers": [
            row for row in rows if row.network == "relu-open"
        ],
    }
    found = [
        _at_most("Theorem 2", f"gap to the gradient, {name}", max(row.gap for row in group), EXACT)
        for name, group in exact.items()
    ]
    lower = [row for row in rows if row.network == "relu" and not row.top]
    for layer in sorted({row.layer for row in lower}):
        gap = median(row.gap for row in lower if row.layer == layer)
        found.append(
            _reported(
                "Theorem 2", f"gap where gates vary (Assumption 1), layer {layer} of ReLU networks", gap
            )
        )
    return found


def conservation(rows: Iterable[ConservationRow]) -> list[CheckRow]:
    """Theorem 3."""
    rows = list(rows)
    kept = [
        row for row in rows if row.order != "none" and row.with_bias == (row.bias and row.order == "relu-bn")
    ]
    exact = [row for row in kept if row.eps == 0]
    ratio = max((row.growth / row.growth_quarter for row in exact), key=lambda value: abs(value - 4))
    lost = {
        "without its bias between ReLU and batch norm": [
            row for row in rows if row not in kept and row.order == "relu-bn"
        ],
        "without batch norm": [row for row in rows if row.order == "none"],
    }
    name = "Theorem 3"
    return [
        _at_most(
            name,
            "cosine of a filter and its gradient, eps 0, greatest",
            max(row.slope for row in exact),
            EXACT,
        ),
        _at_most(
            name,
            "growth of ‖w‖² in a step less eta² ‖gradient‖², relative, greatest",
            max(row.step_deviation for row in exact),
            EXACT,
        ),
        _at_most(
            name,
            "growth at eta over that at eta / 4, less 4 (gradient flow has none)",
            abs(ratio - 4),
            HALVING,
        ),
        _at_most(
            name,
            "cosine less the leak of eps / (variance + eps), greatest",
            max(row.leak_deviation for row in kept if row.eps > 0),
            EXACT,
        ),
        *(
            _at_least(
                name,
                f"control: cosine {what}",
                min(row.slope for row in group if row.eps == 0),
                CONTROL_SLOPE,
            )
            for what, group in lost.items()
        ),
    ]


def angles(rows: Iterable[AngleRow]) -> list[CheckRow]:
    """Theorem 4."""
    rows = list(rows)
    last = max(row.step for row in rows)
    large, small = max(row.bias for row in rows), min(row.bias for row in rows)
    near, far = min(row.start for row in rows), max(row.start for row in rows)

    def fell(bias: float) -> float:
        ends = [row for row in rows if (row.start, row.bias, row.step) == (far, bias, last)]
        return fmean(row.below_start for row in ends)

    name, close = "Theorem 4", [row for row in rows if row.start == near]
    return [
        _at_least(
            name,
            f"share of nodes nearer than {near:g} degrees at the end, least",
            min(row.below_start for row in close if row.step == last),
            1.0,
        ),
        _at_most(
            name,
            f"share of nodes that turn away on the way from {near:g} degrees, greatest",
            max(row.rising for row in close),
            0.0,
        ),
        _at_least(
            name,
            f"from {far:g} degrees: share of nodes that turn towards their own, small less large overlap",
            fell(small) - fell(large),
            0.0,
        ),
        *(
            _reported(
                name,
                f"rate of log angle from {near:g} degrees, second half over first, bias {bias:g}",
                _acceleration([row for row in close if row.bias == bias], last),
            )
            for bias in (large, small)
        ),
    ]


def overlaps(rows: Iterable[OverlapRow]) -> list[CheckRow]:
    """Assumption 3."""
    rows = list(rows)
    high, low = max(row.bias for row in rows), min(row.bias for row in rows)

    def found(bias: float, layer: int, column: str) -> float:
        values = [getattr(row, column) for row in rows if (row.bias, row.layer) == (bias, layer)]
        return median(value for value in values if value == value)

    layers = sorted({row.layer for row in rows})
    left = found(low, 1, "gates") / found(high, 1, "gates")
    return [
        _at_most(
            "Assumption 3",
            f"overlap of gates in layer 1, mean bias {low:g} over {high:g}",
            left,
            LESS_OVERLAP,
        ),
        *(
            _reported(
                "Assumption 3",
                f"overlap of {column}, layer {layer}, mean bias {bias:g}",
                found(bias, layer, column),
            )
            for bias in (high, low)
            for layer in (layers[0], layers[-1])
            for column in ("gates", "nodes")
        ),
    ]


def modulation(rows: Iterable[ModulationRow]) -> list[CheckRow]:
    """Section 3.2 and Figure 11."""
    rows = list(rows)
    name = "Top-down modulation"
    first = {
        moment: median(row.h_rows for row in rows if (row.moment, row.layer) == (moment, 1))
        for moment in ("start", "end")
    }
    least = min(
        median(row.h_ratio for row in rows if (row.moment, row.layer) == ("end", layer))
        for layer in {row.layer for row in rows}
    )
    what = "rows of H* with the diagonal greatest, layer 1"
    return [
        _at_least(name, f"{what}, after matching", first["end"], FIRST_LAYER_ROWS),
        _reported(name, f"{what}, before training", first["start"]),
        _at_least(
            name,
            "diagonal of H* over the entries off it, after matching, least layer",
            least,
            EVERY_LAYER_RATIO,
        ),
    ]


def _acceleration(rows: list[AngleRow], last: int) -> float:
    """Fall of the log of the mean angle in the second half of the steps over the first; above 1: faster."""
    mean = {step: fmean(row.mean for row in rows if row.step == step) for step in (0, last // 2, last)}
    halves = ((0, last // 2), (last // 2, last))
    first, second = (math.log(mean[before] / mean[after]) for before, after in halves)
    return second / first


def _at_most(theorem: str, check: str, found: float, threshold: float) -> CheckRow:
    return CheckRow(theorem, check, found, "<=", threshold, "holds" if found <= threshold else "fails")


def _at_least(theorem: str, check: str, found: float, threshold: float) -> CheckRow:
    return CheckRow(theorem, check, found, ">=", threshold, "holds" if found >= threshold else "fails")


def _reported(theorem: str, check: str, found: float) -> CheckRow:
    return CheckRow(theorem, check, found, "none", math.nan, "reported")
