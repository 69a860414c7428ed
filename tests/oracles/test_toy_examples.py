"""The toy examples against loops over dual numbers: every step, exact fractions, the claims' numbers."""

import math
from fractions import Fraction
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from pipeline.claims.toy_examples import M_BY_STEP, NEURONS, RATIOS
from pipeline.gradients import measure_coherence
from pipeline.studies.toy_examples import models, study
from pipeline.studies.toy_examples.descent import descend, median, median_of_three
from pipeline.studies.toy_examples.tables import DEEP, HEAT_MAP, STARTS, StepRow, linear, two_neurons
from tests import toy_study
from tests.oracles import toy_loops

SMALL = Fraction(1, 100)
# Rounding of float64, carried through a few hundred steps.
ROUNDING = 1e-12
# M is a ratio of residuals: at the end they are so small (1e-12) that rounding is a part in 10⁴ of them,
# and what that does to M is of second order.
ROUNDING_OF_M = 1e-7

# Name -> network and data of the oracle.
ORACLES = {
    linear("mean", "real"): (toy_loops.linear, toy_loops.REAL),
    linear("mean", "random"): (toy_loops.linear, toy_loops.RANDOM),
    DEEP: (toy_loops.deep, toy_loops.REAL),
    **{two_neurons(start): (toy_loops.two_neurons, toy_loops.REAL) for start in STARTS},
}


@pytest.fixture(scope="module")
def trajectories() -> dict[str, study.Trajectory]:
    return {each.name: each for each in study.trajectories()}


@pytest.fixture(scope="module")
def exact() -> dict[str, list[tuple[list[float], StepRow]]]:
    """Of every trajectory under gradient descent the weights and the row of each step."""
    return {name: list(_loop(name)) for name in ORACLES}


def _start(name: str, number: type = float) -> list:
    if name.startswith("linear"):
        return [number(0)] * 6
    if name == DEEP:
        return [number(SMALL)] * 12
    w1 = next(start for start in STARTS if two_neurons(start) == name)
    return [number(SMALL)] * 11 + [number(Fraction(str(w1))), number(SMALL)]


def _loop(name: str):
    network, data = ORACLES[name]
    steps = study.LINEAR_STEPS if name.startswith("linear") else study.STEPS
    for step, (weights, rows) in enumerate(toy_loops.descend(network, _start(name), data, steps)):
        *train, test = toy_loops.losses(network, weights, data)
        m = toy_loops.m_coherence(rows)
        yield weights, StepRow(name, step, sum(train) / 4, test, m / 4, m)


@pytest.mark.parametrize("name", ORACLES)
def test_every_step_of_gradient_descent(name, trajectories, exact):
    trajectory = trajectories[name]
    steps, weights = study.follow(trajectory)
    values = torch.tensor([row.value for row in weights], dtype=torch.float64).view(len(steps), -1)
    assert len(steps) == len(exact[name])
    for row, of_row, (truth, expected) in zip(steps, values.tolist(), exact[name], strict=True):
        assert of_row == pytest.approx(truth, abs=ROUNDING)
        assert row.train_loss == pytest.approx(expected.train_loss, abs=ROUNDING)
        assert row.test_loss == pytest.approx(expected.test_loss, abs=ROUNDING)
        assert row.m_coherence == pytest.approx(expected.m_coherence, abs=ROUNDING_OF_M)
        assert row.alpha == row.m_coherence / 4


@pytest.mark.parametrize("name", ORACLES)
def test_the_first_steps_are_exact_fractions(name, trajectories):
    """Losses, M and alpha of each weight at steps 0 to 2, from arithmetic without rounding."""
    network, data = ORACLES[name]
    states = trajectories[name].states()
    for (weights, rows), state in zip(
        toy_loops.descend(network, _start(name, Fraction), data, 2), states, strict=False
    ):
        *train, test = toy_loops.losses(network, weights, data)
        # A handful of operations on numbers of order one.
        assert float(state.alpha) == pytest.approx(float(toy_loops.m_coherence(rows) / 4), abs=1e-14)
        assert float(state.train_loss) == pytest.approx(float(sum(train) / 4), abs=1e-14)
        assert float(state.test_loss) == pytest.approx(float(test), abs=1e-14)
        for place, alpha in enumerate(state.component_alpha.tolist()):
            column = [[row[place]] for row in rows]
            live = any(value for (value,) in column)
            truth = float(toy_loops.m_coherence(column) / 4) if live else 0.0
            assert alpha == pytest.approx(truth, abs=1e-14)


def test_example_4_by_hand():
    rows = toy_loops.gradients(toy_loops.linear, [Fraction(0)] * 6, toy_loops.REAL)
    assert toy_loops.m_coherence(rows) == Fraction(5, 2)
    rows = toy_loops.gradients(toy_loops.linear, [Fraction(0)] * 6, toy_loops.RANDOM)
    assert toy_loops.m_coherence(rows) == 1


@pytest.mark.parametrize("aggregation", ["median", "m3"])
def test_a_median_learns_the_common_feature_alone_or_nothing(aggregation, trajectories):
    real = list(trajectories[linear(aggregation, "real")].states())
    random = list(trajectories[linear(aggregation, "random")].states())
    for state in real:
        # The residual falls by a tenth a step, and nothing but w6 moves: exactly.
        assert float(state.weights[5]) == pytest.approx(1 - 0.9**state.step, abs=ROUNDING)
        assert not state.weights[:5].any()
    assert not any(state.weights.any() for state in random)


@pytest.mark.parametrize("data", ["real", "random"])
def test_any_three_examples_have_the_median_of_all_four(data, trajectories):
    """So Examples 5 and 6 are the same, in whichever order examples come."""
    for state in list(trajectories[linear("mean", data)].states())[:20]:
        rows = state.gradients.tolist()
        medians = [toy_loops.median(list(three), 0) for three in combinations(rows, 3)]
        assert all(each == medians[0] for each in medians)
        assert all(median_of_three(state.gradients, step).tolist() == medians[0] for step in range(4))
        assert median(state.gradients, 0).tolist() == toy_loops.median(rows, 0) == medians[0]
        assert toy_loops.mean(rows, 0) != medians[0]


def test_the_order_matters_where_examples_differ():
    rows = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    assert len({float(median_of_three(rows, step)) for step in range(4)}) > 1


@pytest.mark.parametrize(("w1", "w2"), [(0.0, 0.0), (1.0, 0.0), (0.25, 0.0), (0.5, 0.15), (1.0, 1.0)])
def test_cells_of_the_heat_map(w1, w2, cells):
    start = [0.01] * 11 + [w1, w2]
    *_, (weights, _) = toy_loops.descend(toy_loops.two_neurons, start, toy_loops.REAL, study.HEAT_MAP_STEPS)
    u, v, w1_end, w2_end = weights[:5], weights[5:11], weights[11], weights[12]
    cell = cells[w1, w2]
    assert cell.test_loss == pytest.approx(
        toy_loops.losses(toy_loops.two_neurons, weights, toy_loops.REAL)[4], abs=ROUNDING
    )
    assert cell.common == pytest.approx(w2_end * v[5], abs=ROUNDING)
    assert cell.idiosyncratic == pytest.approx(
        max(w1_end * u[j] + w2_end * v[j] for j in range(5)), abs=ROUNDING
    )


@pytest.fixture(scope="module")
def cells() -> dict:
    return {(cell.w1, cell.w2): cell for cell in toy_study.tables()[HEAT_MAP]}


def test_the_heat_map_is_a_square_that_has_fitted_every_cell(cells):
    sides = sorted({w1 for w1, _ in cells})
    assert sides == [place / 20 for place in range(21)]
    assert set(cells) == {(w1, w2) for w1 in sides for w2 in sides}
    assert max(cell.train_loss for cell in cells.values()) < 1e-20


def test_the_claims_numbers_are_the_oracles(exact):
    """What the claims hold the study against was not taken from the study."""
    deep = [row for _, row in exact[DEEP]]
    weights = [weights for weights, _ in exact[DEEP]]
    for step, m in M_BY_STEP.items():
        assert deep[step].m_coherence == pytest.approx(m, abs=5.1e-9)  # eight decimals
    for step, ratio in RATIOS.items():
        assert weights[step][11] / (weights[step][6] / 4) == pytest.approx(ratio, rel=6e-3)  # two digits
    for start, expected in NEURONS.items():
        rows = exact[two_neurons(start)]
        (*_, w1, w2), last = rows[-1]
        # Half a unit of the last digit that is given, and what 150 steps leave undone.
        assert (w1, w2) == pytest.approx((expected.w1, expected.w2), abs=6e-4)
        assert rows[0][1].m_coherence == pytest.approx(expected.first_m, abs=5.1e-7)
        assert last.m_coherence == pytest.approx(expected.last_m, abs=5.1e-7)
        assert last.test_loss == pytest.approx(expected.test_loss, abs=6e-6)
        if expected.overtakes is not None:
            ahead = (step for step, (weights, _) in enumerate(rows) if weights[12] > weights[11])
            assert next(ahead, math.inf) == expected.overtakes


class TwoNeurons(nn.Module):
    """Example 8 as anybody would write it."""

    def __init__(self, weights: Tensor):
        super().__init__()
        self.bad, self.good = (nn.Linear(width, 1, bias=False, dtype=weights.dtype) for width in (5, 6))
        self.w1, self.w2 = (nn.Linear(1, 1, bias=False, dtype=weights.dtype) for _ in range(2))
        parts = weights.split([5, 6, 1, 1])
        with torch.no_grad():
            for layer, part in zip((self.bad, self.good, self.w1, self.w2), parts, strict=True):
                layer.weight.copy_(part[None])

    def forward(self, inputs: Tensor) -> Tensor:
        return (self.w1(self.bad(inputs[:, :5])) + self.w2(self.good(inputs))).squeeze(1)


def test_the_coherence_of_any_network_says_the_same(trajectories):
    """`measure_coherence`, which knows nothing of these examples, on an ordinary network."""
    data = models.real_data()
    train = (data.inputs[: models.NUM_TRAIN], data.targets[: models.NUM_TRAIN])
    for state in list(trajectories[two_neurons(0.2)].states())[::25]:
        found = measure_coherence(
            TwoNeurons(state.weights), [train], lambda output, target: (output - target).square() / 2
        )
        assert found.alpha == pytest.approx(float(state.alpha), abs=1e-12)
        assert found.layers["w1"].alpha == pytest.approx(1.0, abs=1e-12)
        assert found.layers["w2"].alpha == pytest.approx(1.0, abs=1e-12)
        assert found.layers["bad"].alpha == pytest.approx(0.25, abs=1e-12)


def test_a_fitted_example_has_no_coherence():
    """Footnote 11 of the paper: 0 where every gradient is 0."""
    fitted = torch.tensor([0, 0, 0, 0, 0, 1], dtype=torch.float64)
    state = next(descend(models.LINEAR, models.real_data(), fitted, 0))
    assert float(state.alpha) == 0.0
    assert not state.component_alpha.any()
