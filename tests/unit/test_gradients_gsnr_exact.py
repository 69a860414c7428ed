"""Exact GSNR and sign agreement: gradients that are known by construction, streaming, and refusals."""

import copy
import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.gradients import GradientError, GsnrSums, NotFiniteError, impute_gsnr, measure_gsnr

LOSS = nn.CrossEntropyLoss(reduction="none")


def first_output(output: Tensor, _: Tensor) -> Tensor:
    """The loss under which the gradient of `linear`'s weights at an example is the example itself."""
    return output[:, 0]


def of_rows(rows: Tensor, sizes: list[int] | None = None, **options):
    model = nn.Linear(rows.shape[1], 1, bias=False).to(rows.dtype)
    batches = [(some, torch.zeros(len(some))) for some in rows.split(sizes or [len(rows)])]
    return measure_gsnr(model, batches, first_output, **options)


def some_rows(m: int, p: int, seed: int = 0) -> Tensor:
    return 0.3 + torch.randn(m, p, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 10**6), st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_gsnr_is_that_of_the_rows_scaled_and_permuted(m, p, seed, scale):
    rows = some_rows(m, p, seed)
    expected = (rows.mean(0).square() / rows.var(0)).unsqueeze(0)
    shuffled = rows[torch.randperm(m, generator=torch.Generator().manual_seed(seed))]
    for some, sizes in ((rows, None), (scale * rows, [1, m - 1]), (shuffled, [m // 2, m - m // 2])):
        found = of_rows(some, sizes, signs=True)
        torch.testing.assert_close(found.gsnr["weight"], expected, rtol=1e-8, atol=1e-12)  # float64 sums
        shares = torch.maximum((some > 0).double().mean(0), (some < 0).double().mean(0))
        assert found.sign_agreement.larger_share == pytest.approx(float(shares.mean()))


def test_summaries_are_raw_and_debiased():
    rows = some_rows(30, 50)
    found = of_rows(rows)
    raw = rows.mean(0).square() / rows.var(0)
    assert found.whole.raw.mean == pytest.approx(float(raw.mean()))
    assert found.whole.debiased.mean == pytest.approx(float((27 / 29 * raw - 1 / 30).mean()))
    assert found.layers["Linear"] == found.whole


def test_debiased_gsnr_of_noise_is_zero_on_average():
    rows = torch.randn(40, 20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    found = of_rows(rows).whole
    assert found.raw.mean == pytest.approx(1 / 40, rel=0.1)
    assert found.debiased.mean == pytest.approx(0, abs=1e-3)  # sd of r is .035, over 20,000 of them 2.5e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", [[12], [5, 7], [1] * 12])
def test_constant_gradients_are_infinite_and_zero_ones_undefined(dtype, sizes):
    """The mean of equal numbers is off by rounding, and what is left is no variance."""
    rows = torch.tensor([[0.1, -3.7e5, 1e-3, 0.0]], dtype=dtype).repeat(12, 1)
    found = of_rows(rows, sizes)
    assert torch.equal(found.variance["weight"], torch.zeros_like(found.variance["weight"]))
    assert found.gsnr["weight"].isinf().tolist() == [[True, True, True, False]]
    assert found.gsnr["weight"].isnan().tolist() == [[False, False, False, True]]
    whole = found.whole
    assert (whole.num_infinite, whole.num_undefined, whole.num_parameters) == (3, 1, 4)
    assert math.isnan(whole.raw.mean)


def test_a_small_variance_is_not_taken_for_rounding():
    rows = torch.tensor([[1.0], [1.0], [1 + 1e-5]])
    assert of_rows(rows).whole.num_infinite == 0


def test_one_example_has_no_variance():
    found = of_rows(some_rows(1, 3))
    assert found.variance["weight"].isnan().all()
    assert found.whole.num_undefined == 3


def test_zero_gradients_have_no_sign_and_are_counted():
    rows = torch.tensor([[1.0, 0.0, 0.0], [2.0, -1.0, 0.0], [-9.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    agreement = of_rows(rows, signs=True).sign_agreement
    assert agreement.larger_share == pytest.approx((2 / 3 + 1) / 2)
    assert agreement.share_with_mean == pytest.approx((1 / 3 + 1) / 2)  # the mean of the first is negative
    assert (agreement.num_parameters, agreement.num_undefined, agreement.num_zeros) == (2, 1, 7)
    null = (1 + 1 / math.sqrt(6 * math.pi) + 1 / math.sqrt(4 * math.pi)) / 2
    assert agreement.null == pytest.approx(null)
    assert math.isnan(of_rows(torch.zeros(4, 2), signs=True).sign_agreement.larger_share)


def test_signs_are_counted_when_asked_for_and_never_imputed():
    rows = some_rows(8, 2)
    with pytest.raises(GradientError, match="signs=True"):
        _ = of_rows(rows).sign_agreement
    batches = [(some, torch.zeros(2)) for some in rows.split(2)]
    with pytest.raises(GradientError, match="never imputed"):
        _ = impute_gsnr(nn.Linear(2, 1).double(), batches, first_output).sign_agreement


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3))


def batches(sizes=(5, 3, 6, 4)):
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(size, 1, 6, 6, generator=generator), torch.arange(size) % 3) for size in sizes]


def sums_of(some, model) -> GsnrSums:
    sums = GsnrSums(model, LOSS, signs=True)
    for inputs, targets in some:
        sums.add(inputs, targets)
    return sums


@pytest.mark.parametrize("cut", [0, 1, 2, 4])
def test_merged_and_resumed_sums_are_those_of_one_pass(cut):
    model, some = network(), batches()
    whole = sums_of(some, model).finish()
    merged = sums_of(some[:cut], model)
    merged.merge(sums_of(some[cut:], model))
    saved = io.BytesIO()
    torch.save(sums_of(some[:cut], model).state_dict(), saved)
    saved.seek(0)
    resumed = GsnrSums.from_state_dict(torch.load(saved, weights_only=True), model, LOSS)
    for inputs, targets in some[cut:]:
        resumed.add(inputs, targets)
    for found in (merged.finish(), resumed.finish()):
        assert found.num_examples == whole.num_examples == 18
        for name in whole.mean:
            # Means are merged in another order, in float64.
            torch.testing.assert_close(found.mean[name], whole.mean[name], rtol=1e-10, atol=1e-16)
            torch.testing.assert_close(found.variance[name], whole.variance[name], rtol=1e-10, atol=1e-18)
        assert found.sign_agreement == whole.sign_agreement
    for name in whole.mean:  # going on from a saved state is the same, not only close
        assert torch.equal(resumed.finish().variance[name], whole.variance[name])


def test_results_do_not_change_when_more_is_added():
    model, some = network(), batches()
    for start in (1, 2):
        sums = sums_of(some[:start], model)
        before = sums.finish()
        kept = copy.deepcopy((dict(before.mean), dict(before.variance)))
        sums.add(*some[start])
        for values, copies in zip((before.mean, before.variance), kept, strict=True):
            assert all(torch.equal(values[name], copies[name]) for name in values)


def test_one_batch_stays_in_its_own_type_and_more_go_on_in_float64():
    model = network()
    assert {values.dtype for values in measure_gsnr(model, batches((9,)), LOSS).mean.values()} == {
        torch.float32
    }
    assert {values.dtype for values in measure_gsnr(model, batches(), LOSS).mean.values()} == {torch.float64}


def test_a_refused_batch_leaves_the_sums_alone():
    model, some = network(), batches()
    sums = sums_of(some, model)
    before = sums.finish()
    spoiled = some[0][0].clone()
    spoiled[2, 0, 0, 0] = torch.nan
    with pytest.raises(NotFiniteError, match="layer 0: a gradient is not finite"):
        sums.add(spoiled, some[0][1])
    after = sums.finish()
    assert after.num_examples == before.num_examples
    assert all(torch.equal(after.variance[name], before.variance[name]) for name in after.variance)


def test_what_is_refused():
    normed = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3))
    with pytest.raises(GradientError, match=r"layers 1 are batch norm.*Use impute_gsnr\(\.\.\.\)"):
        measure_gsnr(normed, batches(), LOSS)
    assert measure_gsnr(normed, batches(), LOSS, batch_norm="eval").num_examples == 18
    with pytest.raises(GradientError, match="should be 'refuse' or 'eval', found 'train'"):
        measure_gsnr(normed, batches(), LOSS, batch_norm="train")
    with pytest.raises(GradientError, match="batches is empty"):
        measure_gsnr(network(), [], LOSS)
    with pytest.raises(GradientError, match="one loss for each example"):
        measure_gsnr(network(), batches(), nn.CrossEntropyLoss())
    with pytest.raises(GradientError, match="cannot be merged"):
        sums_of([], network()).merge(GsnrSums(network(), LOSS))
    with pytest.raises(GradientError, match="other trainable parameters"):
        GsnrSums.from_state_dict(sums_of([], network()).state_dict(), nn.Linear(2, 2), LOSS)


def test_the_model_is_left_as_it_was():
    model = network().eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = torch.random.get_rng_state()
    measure_gsnr(model, batches(), LOSS)
    assert not model.training
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model[3].weight.grad is None
    assert torch.equal(torch.random.get_rng_state(), before)
