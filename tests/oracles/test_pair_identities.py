"""Metrics of pairs of gradients are one another in disguise: the identities that docs/gradients.md lists."""

import math

import pytest
import torch
from torch import nn

from pipeline.gradients import measure_coherence, pairwise
from tests.oracles.gradient_rows import LOSS, NETWORKS, images

COUNT = 18
# Float64 throughout; sums of some thousand products and, in noise_scale, a difference of like numbers.
TIGHT = 1e-10


@pytest.fixture(params=NETWORKS, ids=lambda make: make.__name__)
def make(request):
    return request.param


@pytest.fixture(params=range(3))
def measured(make, request):
    """Pairs, and coherence by its own code, of the same examples of a random network."""
    seed = request.param
    torch.manual_seed(seed)
    model, (inputs, targets) = make().double(), images(COUNT, seed=seed)
    inputs = inputs.double()
    return pairwise(model, inputs, targets, LOSS), measure_coherence(model, [(inputs, targets)], LOSS)


def test_distances_are_two_times_what_coherence_lacks(measured):
    pairs, coherence = measured
    mean_square = float(pairs.squared_norms.mean())
    assert pairs.mean_squared_distance == pytest.approx(2 * (1 - coherence.alpha) * mean_square, rel=TIGHT)
    assert pairs.mean_distance <= math.sqrt(pairs.mean_squared_distance)
    # Not without the pairs of an example with itself, which are in the mean:
    others = pairs.mean_squared_distance * COUNT / (COUNT - 1)
    assert others != pytest.approx(2 * (1 - coherence.alpha) * mean_square, rel=1e-3)
    assert others == pytest.approx(2 * (1 - coherence.alpha_unbiased) * mean_square, rel=TIGHT)


def test_the_mean_product_is_the_unbiased_coherence(measured):
    pairs, coherence = measured
    mean_square = float(pairs.squared_norms.mean())
    assert pairs.mean_dot_product == pytest.approx(coherence.alpha_unbiased * mean_square, rel=TIGHT)
    from_m = (coherence.m_coherence - 1) * mean_square / (COUNT - 1)
    assert pairs.mean_dot_product == pytest.approx(from_m, rel=TIGHT)


def test_diversity_and_noise_scale_are_coherence_upside_down(measured):
    pairs, coherence = measured
    assert pairs.diversity == pytest.approx(1 / coherence.m_coherence, rel=TIGHT)
    alpha = coherence.alpha_unbiased
    assert pairs.noise_scale == pytest.approx((1 - alpha) / alpha, rel=TIGHT)
    assert pairs.noise_scale != pytest.approx((1 - coherence.alpha) / coherence.alpha, rel=1e-3)
    # As its authors write it: the trace of the covariance over ||G||^2, both without bias.
    trace = float(pairs.squared_norms.sum()) - COUNT * float(pairs.gram.mean())
    assert pairs.noise_scale == pytest.approx(trace / (COUNT - 1) / pairs.mean_dot_product, rel=TIGHT)


def test_of_gradients_of_one_length_stiffness_is_coherence():
    generator = torch.Generator().manual_seed(4)
    rows = 0.3 + torch.randn(COUNT, 5, generator=generator, dtype=torch.float64)

    def first(output: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return output[:, 0]

    model, targets = nn.Linear(5, 1, bias=False).double(), torch.zeros(COUNT)
    for inputs, same in ((rows / rows.norm(dim=1, keepdim=True), True), (rows, False)):
        found = pairwise(model, inputs, targets, first)
        coherence = measure_coherence(model, [(inputs, targets)], first)
        assert (found.stiffness().cosine == pytest.approx(coherence.alpha_unbiased, rel=TIGHT)) == same
        assert found.minimum_cosine < found.stiffness().cosine


def test_pairs_within_and_between_classes_make_up_all_pairs(measured):
    pairs, _ = measured
    labels = torch.arange(COUNT) % 5
    stiffness = pairs.stiffness(labels)
    between = stiffness.num_pairs - stiffness.num_within
    for kind in ("sign", "cosine"):
        within, across = (getattr(stiffness, f"{which}_{kind}") for which in ("within", "between"))
        mean = (stiffness.num_within * within + between * across) / stiffness.num_pairs
        assert getattr(stiffness, kind) == pytest.approx(mean, rel=TIGHT)
