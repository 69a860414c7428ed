"""One theory: coherence, GSNR and the one-step generalisation ratio are one measurement (docs/theory.md).

On random networks in float64. What is asserted of the library's numbers is worked out from the gradients of
single examples, written out by a loop that shares nothing with it. All but what is said to be a control holds
exactly, so to the rounding of float64: 1e-10.
"""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from pipeline.gradients import (
    Coherence,
    Gsnr,
    GsnrSums,
    ImputedGsnr,
    PartitionedMoments,
    impute_nested,
    measure_nested,
)
from tests.oracles.gradient_rows import CLASSES, LOSS, Convolutions, flat, images, loop

EXACT = 1e-10
NETWORKS = 6


def network(seed: int) -> nn.Module:
    """Of random widths, kinds and weights; one of three is that with shared weights and every convolution."""
    torch.manual_seed(seed)
    if seed % 3 == 0:
        return Convolutions().double()
    widths = torch.randint(3, 12, (3,)).tolist()
    activation = (nn.ReLU, nn.Tanh)[seed % 2]
    layers: list[nn.Module] = [nn.Conv2d(2, widths[0], 3, stride=2), activation(), nn.Flatten()]
    for before, after in zip((9 * widths[0], widths[1]), (widths[1], widths[2]), strict=True):
        layers += [nn.Linear(before, after), nn.LayerNorm(after), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[2], CLASSES)).double()


@dataclass(frozen=True)
class Case:
    """What the library found on one network, and the gradients `(n, p)` that it stands for."""

    coherence: Coherence
    gsnr: Gsnr
    rows: Tensor
    by_name: dict[str, Tensor]

    @property
    def n(self) -> int:
        return len(self.rows)


@pytest.fixture(scope="module", params=range(NETWORKS))
def case(request) -> Case:
    model = network(request.param)
    n = 20 + 7 * request.param
    inputs, targets = images(n, seed=request.param)
    inputs = inputs.double() + 0.5 * torch.eye(8).double()[targets][:, None, :, None]  # something in common
    sums = GsnrSums(model, LOSS)
    found = measure_nested(model, [[(inputs[:9], targets[:9])], [(inputs[9:], targets[9:])]], LOSS, gsnr=sums)
    by_name = loop(model, inputs, targets)
    return Case(found[-1], sums.finish(), flat(by_name), by_name)


def moments(gsnr: Gsnr | ImputedGsnr, names=None) -> tuple[Tensor, Tensor]:
    """Mean and variance (ddof 1) over all parameters, or those named, flat; what is never moved left out."""
    names = names or gsnr.mean
    mean, variance = (
        torch.cat([values[name].flatten() for name in names]).double()
        for values in (gsnr.mean, gsnr.variance)
    )
    live = mean.square() + variance > 0
    return mean[live], variance[live]


def test_alpha_is_the_weighted_mean_of_r_over_1_plus_r(case):
    """alpha_m = sum_j f_j alpha_j with alpha_j = r_j / (1 + r_j): r and f of one sample, ddof 0."""
    mean, variance = moments(case.gsnr)
    biased = variance * (case.n - 1) / case.n
    r, second = mean.square() / biased, mean.square() + biased
    alpha = float((second / second.sum() * r / (1 + r)).sum())
    assert case.coherence.alpha == pytest.approx(alpha, rel=EXACT)
    # And both are what the gradients themselves say.
    written = case.rows.sum(0).square().sum() / (case.n * case.rows.square().sum())
    assert case.coherence.alpha == pytest.approx(float(written), rel=EXACT)
    # The control: the other ddof.
    r, second = mean.square() / variance, mean.square() + variance
    wrong = float((second / second.sum() * r / (1 + r)).sum())
    assert case.coherence.alpha != pytest.approx(wrong, rel=1e-4)


def test_it_is_so_in_each_layer_and_their_shares_add_up(case):
    total = 0.0
    for layer, found in case.coherence.layers.items():
        mean, variance = moments(case.gsnr, case.gsnr.layer_parameters[layer])
        second = mean.square() + variance * (case.n - 1) / case.n
        assert found.alpha == pytest.approx(float(mean.square().sum() / second.sum()), rel=EXACT)
        total += found.share * found.alpha
    assert total == pytest.approx(case.coherence.alpha, rel=EXACT)


def test_eq_19_with_ddof_1_is_coherence_without_bias(case):
    n, m, alpha_u = case.n, case.coherence.m_coherence, case.coherence.alpha_unbiased
    mean = case.rows.mean(0)
    eq19 = 1 - float((case.rows - mean).square().sum() / (n - 1) / (n * mean.square().sum()))
    assert case.gsnr.whole.osgr == pytest.approx(eq19, rel=EXACT)
    assert case.coherence.osgr == pytest.approx(eq19, rel=EXACT)
    assert eq19 == pytest.approx(n * alpha_u / (1 + (n - 1) * alpha_u), rel=EXACT)
    assert eq19 == pytest.approx(n / (n - 1) * (1 - 1 / m), rel=EXACT)
    # The control: never alpha_m, of which a part is each example's agreement with itself.
    alpha = case.coherence.alpha
    assert eq19 != pytest.approx(n * alpha / (1 + (n - 1) * alpha), rel=1e-3)


def test_eq_22_takes_r_less_its_bias(case):
    """1 - (1/n) sum_j W_j / (r_j + 1/n), where r^_j - 1/n stands for r_j, and W_j for shares of mean²."""
    mean, variance = moments(case.gsnr)
    n, r = case.n, mean.square() / variance
    weights = mean.square() / mean.square().sum()
    unbiased = r - 1 / n
    eq22 = 1 - float((weights / (unbiased + 1 / n)).sum()) / n
    # Absolute: digits of the smallest r go in the difference, and what they weigh is subtracted from 1.
    assert case.gsnr.whole.osgr == pytest.approx(eq22, abs=EXACT)
    plain = 1 - float((weights / (r + 1 / n)).sum()) / n
    assert case.gsnr.whole.osgr != pytest.approx(plain, rel=1e-4)  # the control


def test_it_is_the_mean_of_steps_taken_without_an_example(case):
    """R as a step's gain for an example it did not see, over that for one it saw: pairs i != j, all pairs."""
    gram = case.rows @ case.rows.t()
    n = case.n
    unseen = (gram.sum() - gram.trace()) / (n * (n - 1))
    seen = gram.sum() / n**2
    assert case.coherence.osgr == pytest.approx(float(unseen / seen), rel=EXACT)
    assert case.coherence.alpha_unbiased == pytest.approx(float(unseen / (gram.trace() / n)), rel=EXACT)


def test_the_population_relation_needs_no_sample():
    """alpha_j = r_j/(1+r_j), R(n) = n alpha/(1+(n-1) alpha): drawn anew, sample means come to them."""
    generator = torch.Generator().manual_seed(0)
    signal, noise = (
        torch.rand(50, generator=generator).double(),
        1 + torch.rand(50, generator=generator).double(),
    )
    r = signal.square() / noise.square()
    shares = (signal.square() + noise.square()) / (signal.square() + noise.square()).sum()
    alpha, n = float((shares * r / (1 + r)).sum()), 6
    predicted = n * alpha / (1 + (n - 1) * alpha)
    draws = 40_000
    rows = signal + noise * torch.randn(draws, 2 * n, 50, generator=generator).double()
    train, test = rows[:, :n].mean(1), rows[:, n:].mean(1)
    seen, unseen = train.square().sum(), (train * test).sum()  # sums over sets before the ratio
    assert float(unseen / seen) == pytest.approx(predicted, rel=5e-3)  # sd of the ratio is 1e-3 of it


@pytest.mark.parametrize("seed", range(3))
def test_imputed_ones_obey_them_too(seed):
    """With k Var_b for the variance: alpha with ddof 0 over the m = kB examples, eq. 19 with ddof 1."""
    model, k, number = network(seed), 4, 9
    inputs, targets = images(k * number, seed=seed)
    some = [(x.double(), y) for x, y in zip(inputs.split(k), targets.split(k), strict=True)]
    pooled = PartitionedMoments(model, LOSS)
    (coherence,) = impute_nested(model, [some], LOSS, [], gsnr=pooled)
    mean, variance = moments(pooled.finish())
    m = k * number
    second = mean.square() + variance * (m - 1) / m
    assert coherence.alpha == pytest.approx(float(mean.square().sum() / second.sum()), rel=EXACT)
    rows = flat(loop(model, inputs, targets)).unflatten(0, (number, k)).mean(1)
    centre = rows.mean(0)
    eq19 = 1 - float(k * (rows - centre).square().sum() / (number - 1) / (m * centre.square().sum()))
    assert coherence.osgr == pytest.approx(eq19, rel=EXACT)
    assert coherence.osgr == pytest.approx(m / (m - 1) * (1 - 1 / coherence.m_coherence), rel=EXACT)
