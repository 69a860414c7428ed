"""GSNR imputed from batches whose gradients are known, its summaries, and the moments under it."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.gradients import GradientError, Gsnr, ImputedGsnr, Moments, impute_coherence, impute_gsnr


def first_output(output: Tensor, _: Tensor) -> Tensor:
    """The loss under which the gradient of `linear`'s weights at an example is the example itself."""
    return output[:, 0]


def linear(width: int) -> nn.Module:
    return nn.Linear(width, 1, bias=False).double()


def in_batches(gradients: Tensor, k: int) -> list[tuple[Tensor, Tensor]]:
    return [(rows, torch.zeros(len(rows))) for rows in gradients.split(k)]


def imputed(gradients: Tensor, k: int) -> ImputedGsnr:
    return impute_gsnr(linear(gradients.shape[1]), in_batches(gradients, k), first_output)


def some_gradients(m: int, p: int, seed: int, signal: float = 0.3) -> Tensor:
    values = torch.randn(m, p, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return values + signal


@given(st.integers(4, 12), st.integers(2, 5), st.integers(0, 10**6), st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_gsnr_by_hand_and_scaled(num_batches, k, seed, scale):
    gradients = some_gradients(num_batches * k, 6, seed)
    means = gradients.view(num_batches, k, 6).mean(1).numpy()
    variance = k * means.var(axis=0, ddof=1)
    raw = np.square(means.mean(0)) / variance
    debiased = (num_batches - 3) / (num_batches - 1) * raw - 1 / (k * num_batches)
    found = imputed(scale * gradients, k)
    for tensors, expected in (
        (found.mean, scale * means.mean(0)),
        (found.variance, scale**2 * variance),
        (found.gsnr, raw),
        (found.debiased, debiased),
    ):
        # Float64; relative to the largest, since a mean near 0 keeps the rounding of its terms.
        np.testing.assert_allclose(tensors["weight"][0], expected, rtol=1e-9, atol=1e-9 * abs(expected).max())
    assert (found.num_examples, found.batch_size, found.num_batches) == (num_batches * k, k, num_batches)
    assert (found.num_gradients, found.ddof, found.estimator) == (num_batches, 1, "imputed")


def test_debiased_is_unbiased_and_raw_is_not():
    """Normal gradients of known GSNR: 400 parameters, 100 draws."""
    truth = 0.04
    draws = [imputed(some_gradients(60, 400, seed, math.sqrt(truth)), 5) for seed in range(100)]
    debiased = torch.stack([found.debiased["weight"] for found in draws]).mean(dim=(1, 2))
    error = float(debiased.std()) / 10
    assert abs(float(debiased.mean()) - truth) < 4 * error
    raw = torch.stack([found.gsnr["weight"] for found in draws]).mean()
    assert abs(float(raw) - truth) > 20 * error


def test_coherence_is_the_share_weighted_gsnr():
    """alpha = sum_j f_j r_j / (1 + r_j) with r of ddof 0: the two statistics share no code but the walk."""
    gradients = some_gradients(40, 6, 2)
    found = imputed(gradients, 4)
    mean, variance = found.mean["weight"], found.variance["weight"] * 39 / 40
    expected = mean.square().sum() / (mean.square() + variance).sum()
    alpha = impute_coherence(linear(6), in_batches(gradients, 4), first_output).alpha
    assert alpha == pytest.approx(float(expected), rel=1e-10)


def test_undefined_and_infinite_values_are_counted_and_left_out():
    gradients = some_gradients(40, 7, 3)
    gradients[:, 2] = 0.0  # 0/0
    gradients[:, 4] = 0.1  # a mean without variance; 0.1 is not exact in binary
    gradients[:, 5] = -3.0
    found = imputed(gradients, 4)
    values = found.gsnr["weight"][0]
    assert values[2].isnan()
    assert values[4].isinf()
    assert values[5].isinf()
    finite = values[[0, 1, 3, 6]].numpy()
    for summary in (found.whole, found.layers["Linear"], found.parameters["weight"]):
        assert (summary.num_parameters, summary.num_undefined, summary.num_infinite) == (7, 1, 2)
        expected = (finite.mean(), np.median(finite), np.percentile(finite, 95))
        assert (summary.raw.mean, summary.raw.median, summary.raw.p95) == pytest.approx(expected, rel=1e-12)


def test_a_summary_of_the_debiased_is_that_of_the_debiased_values():
    found = imputed(some_gradients(60, 31, 4), 5)
    values = found.debiased["weight"].numpy()
    summary = found.whole.debiased
    expected = (values.mean(), np.median(values), np.percentile(values, 95))
    assert (summary.mean, summary.median, summary.p95) == pytest.approx(expected, rel=1e-10)


def test_nothing_finite_has_no_spread():
    found = imputed(torch.zeros(20, 3, dtype=torch.float64), 4)
    assert (found.whole.num_undefined, found.whole.num_infinite) == (3, 0)
    assert math.isnan(found.whole.raw.mean)
    assert math.isnan(found.whole.debiased.p95)


def test_summaries_are_of_each_layer_and_tensor():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    batches = [(torch.randn(6, 5), torch.arange(6) % 3) for _ in range(5)]
    found = impute_gsnr(model, batches, nn.CrossEntropyLoss(reduction="none"))
    assert {name: layer.num_parameters for name, layer in found.layers.items()} == {"0": 24, "1": 8, "2": 15}
    assert list(found.parameters) == [name for name, _ in model.named_parameters()]
    assert found.whole.num_parameters == 47
    assert all(found.gsnr[name].shape == value.shape for name, value in model.named_parameters())
    # Batch norm takes away what a bias before it adds: a gradient of zero but for rounding.
    assert float(found.mean["0.bias"].abs().max()) < 1e-5


def test_sign_agreement_is_never_imputed():
    with pytest.raises(GradientError, match="sign agreement is never imputed"):
        _ = imputed(some_gradients(20, 3, 0), 4).sign_agreement


def test_few_exact_gradients_have_no_debiased_value():
    for num_examples, defined in ((3, False), (4, True)):
        moments = Moments()
        for row in some_gradients(num_examples, 5, 0):
            moments.add({"w": row})
        found = Gsnr(moments.mean, moments.variance(), {"layer": ["w"]}, num_examples, num_examples, 1)
        assert bool(found.debiased["w"].isfinite().all()) == defined
        assert math.isfinite(found.whole.debiased.mean) == defined
        assert math.isfinite(found.whole.raw.mean)
        assert found.estimator == "exact"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 10**6), st.floats(0, 1e6))
@settings(max_examples=30, deadline=None)
def test_moments_of_parts_are_those_of_all(sizes, seed, offset):
    """Parts of unequal sizes, far from zero, where a mean square minus a squared mean has no digit left."""
    rows = some_gradients(sum(sizes), 4, seed, offset)
    moments = Moments()
    for part in rows.split(sizes):
        other = Moments()
        mean = part.mean(0)
        other.add({"w": mean}, len(part), {"w": (part - mean).square().sum(0)})
        moments.merge(other)
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean["w"], rows.numpy().mean(0), rtol=1e-13, atol=1e-12)
    # Rounding of the mean, 1e-16 of the offset, against a deviation of about 1.
    wanted = np.square(rows.numpy() - rows.numpy().mean(0)).sum(0)
    np.testing.assert_allclose(moments.deviations["w"], wanted, rtol=1e-8, atol=1e-8)


def test_float32_gradients_far_from_zero_keep_their_variance():
    """A control: E[g²] - E[g]² in float32 is wrong by more than itself here."""
    rows = some_gradients(50, 1000, 1, 3e3).float()
    moments = Moments()
    for row in rows:
        moments.add({"w": row})
    expected = rows.double().var(dim=0)
    torch.testing.assert_close(moments.variance()["w"], expected, rtol=1e-9, atol=0)
    cancelled = rows.square().mean(0) - rows.mean(0).square()
    assert float((cancelled - expected).abs().median()) > 0.5


def test_moments_are_saved_and_resumed_bitwise():
    rows = some_gradients(20, 4, 5)
    begun, file = Moments(), io.BytesIO()
    for row in rows[:8]:
        begun.add({"a": row[:1], "b": row[1:].view(3, 1)})
    torch.save(begun.state_dict(), file)
    file.seek(0)
    resumed = Moments()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for moments in (begun, resumed):
        for row in rows[8:]:
            moments.add({"a": row[:1], "b": row[1:].view(3, 1)})
    assert begun.count == resumed.count == 20
    for name, variance in begun.variance().items():
        assert torch.equal(variance, resumed.variance()[name])
        assert torch.equal(begun.mean[name], resumed.mean[name])
    assert begun.mean["b"].shape == (3, 1)


def test_moments_of_two_networks_are_not_added():
    moments = Moments()
    moments.add({"a": torch.ones(2)})
    for other in ({"b": torch.ones(2)}, {"a": torch.ones(3)}):
        with pytest.raises(GradientError, match="moments of different networks"):
            moments.add(other)
    moments.merge(Moments())
    assert moments.count == 1
