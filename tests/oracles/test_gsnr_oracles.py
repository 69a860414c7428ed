"""Exact GSNR and agreement of signs against written-out gradients. Its identities: test_one_theory.py."""

import math

import pytest
import torch
from torch import nn

from pipeline.gradients import check_per_example, measure_gsnr
from tests.oracles.gradient_rows import LOSS, NETWORKS, flat, images, loop
from tests.oracles.loops import looped_gradients


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
@pytest.mark.parametrize("n", [24, 500])
def test_gsnr_in_float32_is_that_of_the_loop_for_every_parameter(make, n):
    """The bar of the project, relative to r + 1/n: 1/n is what r^ reads where there is no signal at all.

    Relative to r alone no gradients of float32 can meet it: where the mean of n gradients is small beside
    them it has lost digits before anybody squares it. A plain loop in float32 has as many such parameters.
    """
    torch.manual_seed(5)
    model, (inputs, targets) = make(), images(n)
    inputs = inputs + 0.7 * torch.eye(8)[targets][:, None, :, None]  # something in common
    found = measure_gsnr(model, list(zip(inputs.split(200), targets.split(200), strict=True)), LOSS)
    plain = looped_gradients(model, inputs, targets, LOSS)
    errors, of_loop = [], []
    for name, rows in loop(model, inputs, targets).items():
        live = rows.abs().amax(0) > 0
        variance, r = rows.var(0)[live], (rows.mean(0).square() / rows.var(0))[live]
        error = (found.gsnr[name].double()[live] - r).abs()
        assert (error <= 1e-5 * (r + 1 / n)).all(), name
        assert (error[r >= 1 / n] <= 1e-5 * r[r >= 1 / n]).all(), name  # strictly, where there is a signal
        torch.testing.assert_close(found.variance[name].double()[live], variance, rtol=1e-5, atol=0)
        single = plain[name].double()
        loops = (single.mean(0).square() / single.var(0))[live]
        errors.append(error / r)
        of_loop.append((loops - r).abs() / r)
    beyond, theirs = (float((torch.cat(all_) > 1e-5).double().mean()) for all_ in (errors, of_loop))
    assert 0 < beyond < 0.06  # the control: strictly, a few per cent are beyond it,
    assert theirs > beyond / 4  # and so are the loop's


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
