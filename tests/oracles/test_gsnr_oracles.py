"""Exact GSNR against moments of written-out gradients, and the identities between coherence and GSNR."""

import math

import pytest
import torch
from torch import nn

from pipeline.gradients import check_per_example, measure_coherence, measure_gsnr
from tests.oracles.gradient_rows import LOSS, NETWORKS, flat, images, loop


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("sizes", [[24], [9, 1, 14]])
def test_moments_are_those_of_the_loop(make, sizes):
    torch.manual_seed(0)
    model = make()
    inputs, targets = images(24)
    batches = list(zip(inputs.split(sizes), targets.split(sizes), strict=True))
    found, exact = (
        measure_gsnr(model, batches, LOSS, signs=True),
        measure_gsnr(model.double(), [(some.double(), their) for some, their in batches], LOSS),
    )
    assert (found.num_examples, found.ddof) == (24, 1)
    for name, rows in loop(model, inputs, targets).items():
        mean, variance = rows.mean(0), rows.var(0)
        # Float64 twice, summed in another order; the scale is that of the gradients, as a mean may cancel.
        scale = float(rows.square().mean().sqrt())
        torch.testing.assert_close(exact.mean[name].double(), mean, rtol=1e-10, atol=1e-12 * scale)
        torch.testing.assert_close(exact.variance[name].double(), variance, rtol=1e-9, atol=1e-12 * scale**2)
        # The bar of the project for float32: 1e-5.
        torch.testing.assert_close(found.mean[name].double(), mean, rtol=1e-5, atol=1e-5 * scale)
        torch.testing.assert_close(found.variance[name].double(), variance, rtol=1e-5, atol=1e-5 * scale**2)
        positive = found.sign_counts.positive[name]
        assert torch.equal(positive, (rows > 0).sum(0)), name


@pytest.mark.parametrize("make", NETWORKS)
def test_coherence_is_a_mean_of_gsnr(make):
    """alpha_m = sum f_j r_j / (1 + r_j), r with ddof 0 (SCIENCE: one theory), and eq. 19 with ddof 1."""
    torch.manual_seed(1)
    model, (inputs, targets) = make().double(), images(30)
    batch, n = [(inputs.double(), targets)], 30
    coherence, gsnr = measure_coherence(model, batch, LOSS), measure_gsnr(model, batch, LOSS)
    mean, variance = (
        torch.cat([values[name].flatten() for name in gsnr.mean]).double()
        for values in (gsnr.mean, gsnr.variance)
    )
    biased = variance * (n - 1) / n
    squares = mean.square() + biased  # E g_j^2
    live = squares > 0
    r = mean[live].square() / biased[live]
    alpha = float((squares[live] / squares.sum() * r / (1 + r)).sum())
    assert coherence.alpha == pytest.approx(alpha, rel=1e-10)
    # Eq. 19: 1 - sum rho^2 / (n sum E g_D^2), rho^2 of ddof 1 and g_D the mean gradient.
    one_step = 1 - float(variance.sum() / (n * mean.square().sum()))
    alpha_u, m = coherence.alpha_unbiased, coherence.m_coherence
    assert one_step == pytest.approx(n * alpha_u / (1 + (n - 1) * alpha_u), rel=1e-10)
    assert one_step == pytest.approx(n / (n - 1) * (1 - 1 / m), rel=1e-10)
    # The control: with ddof 1 the first identity does not hold.
    r = mean[live].square() / variance[live]
    wrong = float((squares[live] / squares.sum() * r / (1 + r)).sum())
    assert coherence.alpha != pytest.approx(wrong, rel=1e-3)


def test_no_variance_is_negative_at_a_gsnr_of_ten_million():
    """Gradients 1 + 3e-4 z in float32: mean square minus squared mean would cancel."""
    torch.manual_seed(2)
    model = nn.Linear(40, 3)
    inputs = 1 + 3e-4 * torch.randn(500, 40)
    batches = list(zip(inputs.split(125), torch.zeros(4, 125), strict=True))
    for some in (batches, [(inputs, torch.zeros(500))]):
        found = measure_gsnr(model, some, lambda output, _: output.sum(dim=1))
        variance = found.variance["weight"].double()
        assert (variance > 0).all()
        expected = inputs.double().var(0).expand(3, 40)
        torch.testing.assert_close(variance, expected, rtol=1e-3, atol=0)  # inputs of 24 bits, sd of 12
        assert found.whole.raw.median == pytest.approx(1 / (3e-4) ** 2, rel=0.2)
    cancelled = inputs.square().mean(0) - inputs.mean(0).square()  # the control: what is avoided
    assert not torch.allclose(cancelled, inputs.var(0), rtol=1e-1)


def test_p_same_sign_of_gaussian_gradients_is_its_null():
    n, p = 50, 4000
    rows = torch.randn(n, p, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    model = nn.Linear(p, 1, bias=False).double()
    found = measure_gsnr(model, [(rows, torch.zeros(n))], lambda output, _: output[:, 0], signs=True)
    agreement = found.sign_agreement
    assert agreement.null == pytest.approx(0.5 + 1 / math.sqrt(2 * math.pi * n))
    # sd of one parameter's share is about .043, over 4,000 of them .0007.
    assert agreement.larger_share == pytest.approx(agreement.null, abs=0.003)
    assert (agreement.num_parameters, agreement.num_undefined, agreement.num_zeros) == (p, 0, 0)


@pytest.mark.parametrize("make", NETWORKS)
def test_the_check_agrees_with_the_loop_and_says_so(make):
    torch.manual_seed(4)
    report = check_per_example(make(), images(6), LOSS)
    assert report.ok, str(report)
    assert report.reference == "float64"
    rows = flat(loop(make(), *images(6)))
    assert len(rows) == report.num_examples
