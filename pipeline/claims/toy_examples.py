"""How the claims of CG's toy examples (Chatterjee & Zielinski 2022) are read off the study's tables.

The paper prints few numbers, and its figures are not in the text that this work follows. The others follow
from its definitions (data, network, start, learning rate .1) and were worked out apart from this program.
Nothing is drawn at random, so each is held against what was found, and the greatest deviation of a kind is a
check: 1e-6 on M and alpha, 1e-3 on weights. The last digits given leave that much.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.claims.claim import Built, Reading, Records, UnreadableError
from pipeline.claims.reading import StudyRecord
from pipeline.studies.toy_examples import tables
from pipeline.studies.toy_examples.tables import HeatMapRow, StepRow, WeightRow

ON_M, ON_WEIGHTS = 1e-6, 1e-3
ON_LOSSES = 1e-3  # relative: they are given to three or four digits
ON_RATIOS = 1e-2  # relative: two to four digits
LEAST_SHARE = 0.8  # of the heat map; the paper says "almost all" and no number

M_BY_STEP = {  # of Example 7
    0: 2.5,
    10: 3.41215892,
    20: 3.83147384,
    30: 3.95642112,
    40: 3.98811548,
    50: 3.99532446,
    80: 3.99676488,
}
RATIOS = {0: 4.0, 10: 8.1, 20: 16.4, 30: 32.9, 40: 63.4, 50: 101.0}  # of w6 to a quarter of w1, Example 7


@dataclass(frozen=True)
class Neurons:
    """What Example 8 comes to from one initial w1."""

    w1: float
    w2: float
    first_m: float
    last_m: float
    test_loss: float
    overtakes: float | None  # first step with w2 > w1, inf for never; None where they start equal


NEURONS = {
    0.01: Neurons(0.1031, 0.9432, 3.25, 3.070246, 0.01990, None),
    0.1: Neurons(0.4125, 0.9057, 1.168224, 2.967059, 0.03342, 27),
    0.2: Neurons(0.7240, 0.8175, 1.044226, 2.730641, 0.07672, 43),
    0.5: Neurons(1.302, 0.437, 1.007180, 1.889105, 0.33177, math.inf),
    1.0: Neurons(1.583, 0.130, 1.001799, 1.430515, 0.46899, math.inf),
}


@dataclass(frozen=True)
class Compared:
    """A number as it should be and as it was found; `stated` where the paper's text has it."""

    label: str
    exact: float
    found: float
    stated: bool = False


@dataclass(frozen=True)
class Comparison:
    """Numbers of one kind, which may deviate by so much, absolutely or relatively."""

    kind: str
    tolerance: float
    numbers: tuple[Compared, ...]
    relative: bool = False

    @property
    def reading(self) -> Reading:
        """The greatest deviation as a check."""
        deviations = [self._deviation(number) for number in self.numbers]
        undefined = any(map(math.isnan, deviations))
        greatest = math.nan if undefined else max(deviations)
        name = f"greatest {'relative ' if self.relative else ''}deviation of {self.kind}"
        return Reading(name, (greatest,), "<=", self.tolerance, deterministic=True)

    def _deviation(self, number: Compared) -> float:
        if number.found == number.exact:  # both may be infinite
            return 0.0
        away = abs(number.found - number.exact)
        return away / abs(number.exact) if self.relative else away


def example_1(record: StudyRecord) -> tuple[Comparison, ...]:
    """The linear model under gradient descent: M at every step, where it ends, how it generalises."""
    real, random = tables.linear("mean", "real"), tables.linear("mean", "random")
    loss = {name: steps_of(record, name)[-1].test_loss for name in (real, random)}
    m = (
        _at_every_step("M at every step, real", 2.5, record, real),
        _at_every_step("M at every step, random", 1.0, record, random),
    )
    weights = (
        *_ends(record, real, "real", {("w1", "w2", "w3", "w4"): 0.2, ("w5",): 0.0, ("w6",): 0.8}),
        *_ends(record, random, "random", {("w1", "w2", "w3", "w4"): 1.0, ("w5", "w6"): 0.0}),
    )
    losses = (Compared("test loss, real", 0.02, loss[real]), Compared("test loss, random", 0.5, loss[random]))
    return (
        Comparison("M", ON_M, m),
        Comparison("final weights", ON_WEIGHTS, weights),
        Comparison("test losses", ON_LOSSES, losses, relative=True),
    )


def example_4(record: StudyRecord) -> tuple[Comparison, ...]:
    """Coherence of the two data sets: at the first step, which stands for all."""
    exact = {"real": (5 / 8, 2.5, 0.5), "random": (1 / 4, 1.0, 0.0)}
    numbers = []
    for data, (alpha, m_coherence, unbiased) in exact.items():
        first = steps_of(record, tables.linear("mean", data))[0]
        numbers += [
            Compared(f"alpha, {data}", alpha, first.alpha, stated=data == "real"),
            Compared(f"M, {data}", m_coherence, first.m_coherence, stated=True),
            Compared(f"unbiased alpha, {data}", unbiased, (first.m_coherence - 1) / 3),
        ]
    return (Comparison("alpha and M", ON_M, tuple(numbers)),)


def example_5(record: StudyRecord) -> tuple[Comparison, ...]:
    """The component-wise median: it fits by the common feature alone, or not at all."""
    return _no_gap(record, "median")


def example_6(record: StudyRecord) -> tuple[Comparison, ...]:
    """M3 with micro-batches of one: as Example 5."""
    return _no_gap(record, "m3")


def example_7(record: StudyRecord) -> tuple[Comparison, ...]:
    """The deep linear model: the common feature's share grows, and M with it."""
    steps = {row.step: row for row in steps_of(record, tables.DEEP)}
    w1, w6 = (weight_of(record, tables.DEEP, name) for name in ("w1", "w6"))
    ratio = {row.step: row.value / (of_w1.value / 4) for row, of_w1 in zip(w6, w1, strict=True)}
    last = max(steps)
    m = (
        *(_at(f"M at step {step}", value, steps, step) for step, value in M_BY_STEP.items()),
        *(_component(record, tables.DEEP, name) for name in ("u6", "w6")),
    )
    weights = _ends(record, tables.DEEP, "", {("w1",): 0.0328, ("w6",): 0.9995})
    ratios = [Compared(f"w6 / (w1 / 4) at step {step}", exact, ratio[step]) for step, exact in RATIOS.items()]
    ratios.append(Compared("w6 / (w1 / 4) at the end", 121.8, ratio[last]))
    loss = Compared("test loss at the end", 4.78e-7, steps[last].test_loss)
    return (
        Comparison("M and alpha", ON_M, m),
        Comparison("final weights", ON_WEIGHTS, weights),
        Comparison("w6 / (w1 / 4)", ON_RATIOS, tuple(ratios), relative=True),
        Comparison("test loss", ON_LOSSES, (loss,), relative=True),
    )


def example_8(record: StudyRecord) -> tuple[Comparison, ...]:
    """The two neurons from five initial values of the bad one's weight."""
    m, weights, losses, overtaking = [], [], [], []
    for start, exact in NEURONS.items():
        name, where = tables.two_neurons(start), f"from w1 = {start:g}"
        steps = steps_of(record, name)
        m += [
            Compared(f"M at step 0, {where}", exact.first_m, steps[0].m_coherence),
            Compared(f"M at the end, {where}", exact.last_m, steps[-1].m_coherence),
            *(_component(record, name, weight, f", {where}") for weight in ("w1", "w2")),
        ]
        weights += _ends(record, name, where, {("w1",): exact.w1, ("w2",): exact.w2})
        losses.append(Compared(f"test loss, {where}", exact.test_loss, steps[-1].test_loss))
        if exact.overtakes is not None:
            label = f"step at which w2 overtakes, {where}"
            overtaking.append(Compared(label, exact.overtakes, overtaking_step(record, name)))
    return (
        Comparison("M and alpha", ON_M, tuple(m)),
        Comparison("final weights", ON_WEIGHTS, tuple(weights)),
        Comparison("test losses", ON_LOSSES, tuple(losses), relative=True),
        Comparison("the step of overtaking", 0, tuple(overtaking)),
    )


COMPARISONS: dict[str, Callable[[StudyRecord], tuple[Comparison, ...]]] = {
    "CG-E1": example_1,
    "CG-E4": example_4,
    "CG-E5": example_5,
    "CG-E6": example_6,
    "CG-E7": example_7,
    "CG-E8": example_8,
}


def built(claim: str) -> Built:
    """How a toy claim is read: its numbers' deviations, and for Example 8 the heat map."""

    def read(records: Records) -> tuple[Reading, ...]:
        record = records[tables.STUDY]
        deviations = tuple(comparison.reading for comparison in COMPARISONS[claim](record))
        return (*deviations, _heat_map_share(record)) if claim == "CG-E8" else deviations

    return Built((), read, studies=(tables.STUDY,))


def steps_of(record: StudyRecord, trajectory: str) -> tuple[StepRow, ...]:
    """The steps of one trajectory, from 0 on."""
    rows = (row for row in record.rows(tables.STEPS, StepRow) if row.trajectory == trajectory)
    return _in_order(rows, f"{tables.STEPS} has no trajectory '{trajectory}'")


def weight_of(record: StudyRecord, trajectory: str, weight: str) -> tuple[WeightRow, ...]:
    """One weight of one trajectory, from step 0 on."""
    rows = (
        row
        for row in record.rows(tables.WEIGHTS, WeightRow)
        if (row.trajectory, row.weight) == (trajectory, weight)
    )
    return _in_order(rows, f"{tables.WEIGHTS} has no weight {weight} of trajectory '{trajectory}'")


def overtaking_step(record: StudyRecord, trajectory: str) -> float:
    """The first step at which w2 is above w1; inf if it never is."""
    pairs = zip(*(weight_of(record, trajectory, name) for name in ("w1", "w2")), strict=True)
    return next((float(w2.step) for w1, w2 in pairs if w2.value > w1.value), math.inf)


def common_leads(row: HeatMapRow) -> bool:
    """Whether the common feature weighs more in the output than any idiosyncratic one."""
    return row.common > row.idiosyncratic


def _heat_map_share(record: StudyRecord) -> Reading:
    cells = record.rows(tables.HEAT_MAP, HeatMapRow)
    if not cells:
        raise UnreadableError(f"{tables.HEAT_MAP} has no rows")
    share = sum(map(common_leads, cells)) / len(cells)
    name = "share of initial (w1, w2) from which the common feature leads"
    return Reading(name, (share,), ">=", LEAST_SHARE, deterministic=True)


def _no_gap(record: StudyRecord, aggregation: str) -> tuple[Comparison, ...]:
    """The weights of the idiosyncratic features stay 0, and train and test loss are one."""
    real, random = tables.linear(aggregation, "real"), tables.linear(aggregation, "random")
    weights = (
        *_ends(record, real, "real", {("w1", "w2", "w3", "w4", "w5"): 0.0, ("w6",): 1.0}),
        *_ends(record, random, "random", {("w1", "w2", "w3", "w4", "w5", "w6"): 0.0}),
    )
    last = {name: steps_of(record, name)[-1] for name in (real, random)}
    losses = (
        Compared("train loss, real", 0.0, last[real].train_loss),
        Compared("test loss, real", 0.0, last[real].test_loss),
        *(
            Compared(f"test loss - train loss, {data}", 0.0, row.test_loss - row.train_loss, stated=True)
            for data, row in zip(("real", "random"), last.values(), strict=True)
        ),
    )
    return Comparison("final weights", ON_WEIGHTS, weights), Comparison("losses", ON_M, losses)


def _at_every_step(label: str, exact: float, record: StudyRecord, trajectory: str) -> Compared:
    values = [row.m_coherence for row in steps_of(record, trajectory)]
    return Compared(label, exact, _farthest(values, exact), stated=True)


def _at(label: str, exact: float, steps: dict[int, StepRow], step: int) -> Compared:
    found = steps[step].m_coherence if step in steps else math.nan
    return Compared(label, exact, found, stated=step == 0)


def _component(record: StudyRecord, trajectory: str, weight: str, where: str = "") -> Compared:
    """Component-wise alpha, which is 1 at every step."""
    values = [row.alpha for row in weight_of(record, trajectory, weight)]
    return Compared(f"alpha of {weight} at every step{where}", 1.0, _farthest(values, 1.0), stated=True)


def _ends(
    record: StudyRecord, trajectory: str, where: str, exact: dict[tuple[str, ...], float]
) -> tuple[Compared, ...]:
    """Groups of weights at the last step; of each group the value farthest from what all should be."""
    found = []
    for names, value in exact.items():
        ends = [weight_of(record, trajectory, name)[-1].value for name in names]
        label = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        found.append(Compared(f"{label} at the end{where and ', '}{where}", value, _farthest(ends, value)))
    return tuple(found)


def _farthest(values: Iterable[float], exact: float) -> float:
    """NaN, if there is one."""
    return max(values, key=lambda value: math.inf if math.isnan(value) else abs(value - exact))


def _in_order(rows: Iterable, absent: str) -> tuple:
    found = tuple(sorted(rows, key=lambda row: row.step))
    if not found:
        raise UnreadableError(absent)
    return found
