"""Directions, pairs, errors and robust aggregates against gradients written out by a loop in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.gradients import (
    WinsorizedGradient,
    delete_one_error,
    dot_products,
    helpfulness,
    measure_coherence,
    median_of_means,
    null_band,
    pairwise,
    total_gradient,
    winsorized_gradient,
)
from tests.oracles.gradient_rows import LOSS, NETWORKS, flat, images, loop

COUNT = 22


def first_output(output: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """The loss under which the gradient of a linear layer's weights at an example is the example itself."""
    return output[:, 0]


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda make: make.__name__)
def case(request):
    """A float64 network, its batches, and the written-out gradients `(m, p)`."""
    torch.manual_seed(5)
    model, (inputs, targets) = request.param().double(), images(COUNT)
    batches = list(zip(inputs.double().split(9), targets.split(9), strict=True))
    return model, batches, loop(model, inputs, targets)


def test_helpfulness_is_the_share_along_the_sum(case):
    model, batches, rows = case
    g = flat(rows)
    total = g.sum(0)
    found = helpfulness(model, batches, LOSS)
    torch.testing.assert_close(found, g @ total / total.square().sum(), rtol=1e-9, atol=1e-12)  # float64
    assert float(found.sum()) == pytest.approx(1, rel=1e-12)


def test_helpfulness_towards_other_examples(case):
    model, batches, rows = case
    others = total_gradient(model, batches[:1], LOSS)
    g = flat(rows)
    theirs = g[:9].sum(0)
    found = helpfulness(model, batches[1:], LOSS, towards=others)
    torch.testing.assert_close(found, g[9:] @ theirs / theirs.square().sum(), rtol=1e-9, atol=1e-12)
    products = dot_products(model, iter(batches), LOSS, others)  # one pass: an iterator will do
    torch.testing.assert_close(products, g @ theirs, rtol=1e-9, atol=1e-12)


def unbiased(g: np.ndarray) -> float:
    return (np.square(g.sum(0)).sum() / np.square(g).sum() - 1) / (len(g) - 1)


def jackknife(g: np.ndarray) -> float:
    """Delete-one by deleting one."""
    without = np.array([unbiased(np.delete(g, i, axis=0)) for i in range(len(g))])
    return float(np.sqrt((len(g) - 1) / len(g) * np.square(without - without.mean()).sum()))


def test_the_delete_one_error_deletes_one(case):
    model, batches, rows = case
    found = delete_one_error(model, batches, LOSS)
    assert found.standard_error == pytest.approx(jackknife(flat(rows).numpy()), rel=1e-9)
    for layer, error in found.layers.items():
        own = {name: values for name, values in rows.items() if name.rpartition(".")[0] == layer}
        assert error == pytest.approx(jackknife(flat(own).numpy()), rel=1e-9), layer


def test_the_null_band_is_that_of_its_formula():
    generator = torch.Generator().manual_seed(8)
    g = 0.5 + torch.randn(COUNT, 6, dtype=torch.float64, generator=generator)
    model, targets = nn.Linear(6, 1, bias=False).double(), torch.zeros(COUNT)
    gram = g @ g.t()
    squares = gram.diagonal().sum()
    deviation = float((2 * (gram.square().sum() - gram.diagonal().square().sum())).sqrt() / squares)
    found = null_band(model, [(g, targets)], first_output, repeats=400, seed=1)
    # 400 draws: the mean is within 4 standard errors, the deviation within a quarter (its tail is long).
    assert found.mean == pytest.approx(1, abs=4 * deviation / 20)
    assert found.deviation == pytest.approx(deviation, rel=0.25)
    # The control: with the signs as they are, these gradients agree.
    assert measure_coherence(model, [(g, targets)], first_output).m_coherence > 1 + 2 * found.deviation


def test_signs_go_by_example_and_not_by_batch(case):
    model, batches, _ = case
    together = [(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))]
    whole, parts = (null_band(model, some, LOSS, repeats=3, seed=1) for some in (together, iter(batches)))
    np.testing.assert_allclose(whole.values, parts.values, rtol=1e-9)  # sums in another order
    for layer in whole.layers:
        np.testing.assert_allclose(whole.layers[layer].values, parts.layers[layer].values, rtol=1e-9)
    assert null_band(model, together, LOSS, repeats=3, seed=2).values != whole.values


def test_pairs_are_those_of_two_nested_loops(case):
    model, batches, rows = case
    inputs, targets = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    g = flat(rows).numpy()
    found = pairwise(model, inputs, targets, LOSS, by_layer=True)
    dots, cosines, signs, within, distances = [], [], [], [], []
    for i in range(COUNT):
        for j in range(COUNT):
            distances.append(np.linalg.norm(g[i] - g[j]))
            if i != j:
                dots.append(g[i] @ g[j])
                cosines.append(dots[-1] / np.linalg.norm(g[i]) / np.linalg.norm(g[j]))
                signs.append(np.sign(dots[-1]))
                within.append(bool(targets[i] == targets[j]))
    dots, cosines, signs, within = map(np.array, (dots, cosines, signs, within))
    stiffness = found.stiffness(targets)
    expected = {
        "sign": signs.mean(), "cosine": cosines.mean(),
        "within_sign": signs[within].mean(), "within_cosine": cosines[within].mean(),
        "between_sign": signs[~within].mean(), "between_cosine": cosines[~within].mean(),
    }  # fmt: skip
    for name, value in expected.items():
        assert getattr(stiffness, name) == pytest.approx(value, rel=1e-9, abs=1e-12), name
    assert (stiffness.num_pairs, stiffness.num_within) == (len(dots) // 2, within.sum() // 2)
    assert found.mean_dot_product == pytest.approx(dots.mean(), rel=1e-9)
    assert found.minimum_dot_product == pytest.approx(dots.min(), rel=1e-9)
    assert found.minimum_cosine == pytest.approx(cosines.min(), rel=1e-9)
    assert found.mean_distance == pytest.approx(np.mean(distances), rel=1e-6)  # roots of rounding at i = j
    square = np.square(g).sum(1).mean()
    assert found.effective_rank == pytest.approx(square**2 / np.square(dots).mean(), rel=1e-9)
    assert set(found.layers) == {name.rpartition(".")[0] for name in rows}
    torch.testing.assert_close(sum(layer.gram for layer in found.layers.values()), found.gram)


def test_pairs_and_coherence_are_one_theory(case):
    model, batches, _ = case
    inputs, targets = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    found, coherence = pairwise(model, inputs, targets, LOSS), measure_coherence(model, batches, LOSS)
    square = float(found.squared_norms.mean())
    assert found.alpha == pytest.approx(coherence.alpha, rel=1e-10)
    assert found.diversity == pytest.approx(1 / coherence.m_coherence, rel=1e-10)
    assert found.mean_dot_product == pytest.approx(coherence.alpha_unbiased * square, rel=1e-9)
    alpha = coherence.alpha_unbiased
    assert found.noise_scale == pytest.approx((1 - alpha) / alpha, rel=1e-9)
    # Lemma 6 of CG.
    assert found.mean_squared_distance == pytest.approx(2 * (1 - coherence.alpha) * square, rel=1e-10)
    assert found.mean_distance <= found.mean_squared_distance**0.5


def by_sort(rows: torch.Tensor, pulled: int) -> torch.Tensor:
    """Winsorised mean that sorts and overwrites."""
    ordered = rows.sort(dim=0).values
    if pulled:
        ordered[:pulled], ordered[-pulled:] = ordered[pulled].clone(), ordered[-1 - pulled].clone()
    return ordered.mean(0)


@pytest.mark.parametrize(("percent", "pulled"), [(4.0, 1), (10.0, 2), (30.0, 6), (50.0, 10)])
def test_the_winsorised_gradient_is_that_of_written_out_gradients(case, percent, pulled):
    model, batches, rows = case
    inputs, targets = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    found = winsorized_gradient(model, inputs, targets, LOSS, percent)
    for gradient, (name, values) in zip(found, rows.items(), strict=True):
        torch.testing.assert_close(gradient, by_sort(values, pulled), rtol=1e-9, atol=1e-13, msg=name)


def test_winsorising_nothing_is_plain_sgd_bitwise(case):
    model, batches, _ = case
    inputs, targets = batches[0]
    found, losses = WinsorizedGradient(model, LOSS, 0.0)(inputs, targets)
    mean = LOSS(model(inputs), targets).mean()
    for gradient, plain in zip(found, torch.autograd.grad(mean, list(model.parameters())), strict=True):
        assert torch.equal(gradient, plain)
    assert torch.equal(losses.mean(), mean.detach())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("groups", [3, 4, 7, COUNT])
def test_median_of_means_is_that_of_written_out_gradients(case, groups):
    model, batches, rows = case
    inputs, targets = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    found = median_of_means(model, inputs, targets, LOSS, groups)
    edges = np.linspace(0, COUNT, groups + 1).astype(int)
    for gradient, (name, values) in zip(found, rows.items(), strict=True):
        means = np.stack([part.mean(0) for part in np.split(values.numpy(), edges[1:-1])])
        np.testing.assert_allclose(gradient, np.median(means, axis=0), rtol=1e-9, atol=1e-13, err_msg=name)


def test_an_outlier_moves_the_mean_and_no_robust_aggregate():
    generator = torch.Generator().manual_seed(6)
    rows, model, targets = torch.randn(30, 4, generator=generator), nn.Linear(4, 1), torch.zeros(30)
    spoiled = rows.clone()
    spoiled[7] = 1e4

    def moved(gradient_of) -> float:
        return float((gradient_of(spoiled)[0] - gradient_of(rows)[0]).norm())

    assert moved(lambda x: winsorized_gradient(model, x, targets, first_output, 0)) > 100
    assert moved(lambda x: winsorized_gradient(model, x, targets, first_output, 5)) < 1
    assert moved(lambda x: median_of_means(model, x, targets, first_output, 5)) < 2
