"""Helpfulness, null band, pairs, robust aggregates and the check: toys, undefined values and refusals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.gradients import (
    GradientError,
    NotFiniteError,
    check_per_example,
    delete_one_error,
    dot_products,
    helpfulness,
    median_of_means,
    null_band,
    pairwise,
    total_gradient,
    winsorized_gradient,
)
from pipeline.gradients.engine.operations import RULES
from pipeline.gradients.pairs import GramStatistics

LOSS = nn.CrossEntropyLoss(reduction="none")


def first_output(output: Tensor, _: Tensor) -> Tensor:
    """The loss under which the gradient of `linear`'s weights at an example is the example itself."""
    return output[:, 0]


def linear(width: int) -> nn.Module:
    return nn.Linear(width, 1, bias=False).double()


def batches_of(rows: Tensor, size: int = 100) -> list[tuple[Tensor, Tensor]]:
    return [(some, torch.zeros(len(some))) for some in rows.split(size)]


def some_rows(m: int, p: int, seed: int = 0) -> Tensor:
    return 0.3 + torch.randn(m, p, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3))


def pictures(count: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 1, 6, 6, generator=generator), torch.arange(count) % 3


@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 10**6), st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_helpfulness_sums_to_one_whatever_the_scale_and_goes_by_example(m, p, seed, scale):
    rows = some_rows(m, p, seed)
    found = helpfulness(linear(p), batches_of(rows), first_output)
    total = rows.sum(0)
    size = 1 / float(total.norm())  # a sum that cancels makes large shares
    torch.testing.assert_close(found, rows @ total / (total @ total), rtol=1e-8, atol=1e-10 * max(1, size))
    scaled = helpfulness(linear(p), batches_of(scale * rows, 7), first_output)
    torch.testing.assert_close(scaled, found, rtol=1e-8, atol=1e-10 * max(1, size))
    order = torch.randperm(m, generator=torch.Generator().manual_seed(seed))
    permuted = helpfulness(linear(p), batches_of(rows[order], 4), first_output)
    torch.testing.assert_close(permuted, found[order], rtol=1e-8, atol=1e-10 * max(1, size))


def test_a_wrong_label_helps_less_than_nothing():
    rows = torch.ones(10, 3, dtype=torch.float64)
    rows[4] = -1
    found = helpfulness(linear(3), batches_of(rows), first_output)
    assert found[4] < 0 < found[0]


def test_no_direction_gives_nan():
    opposed = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    assert helpfulness(linear(1), batches_of(opposed), first_output).isnan().all()


def test_an_iterator_is_told_from_a_list():
    rows = some_rows(8, 2)
    with pytest.raises(GradientError, match=r"batches is an iterator.*Give a list"):
        helpfulness(linear(2), iter(batches_of(rows)), first_output)
    direction = total_gradient(linear(2), iter(batches_of(rows)), first_output)
    assert len(dot_products(linear(2), iter(batches_of(rows)), first_output, direction)) == 8


def test_another_order_in_the_second_pass_is_noticed():
    rows = some_rows(20, 2)

    class Shuffled:
        def __iter__(self):
            return iter(batches_of(rows[torch.randperm(20)], 6))

    with pytest.raises(GradientError, match="the batches changed between two passes"):
        helpfulness(linear(2), Shuffled(), first_output)


def test_a_direction_that_does_not_fit_is_refused_by_name():
    rows = some_rows(4, 2)
    with pytest.raises(GradientError, match="for parameter weight, found none"):
        dot_products(linear(2), batches_of(rows), first_output, {})
    with pytest.raises(GradientError, match=r"shape \(1, 2\) for parameter weight, found \(2,\)"):
        dot_products(linear(2), batches_of(rows), first_output, {"weight": torch.zeros(2)})


def test_leaving_out_the_one_that_speaks_is_undefined():
    lonely = torch.zeros(9, 2, dtype=torch.float64)
    lonely[3] = 1
    assert math.isnan(delete_one_error(linear(2), batches_of(lonely), first_output).standard_error)
    assert math.isnan(delete_one_error(linear(2), batches_of(some_rows(2, 2)), first_output).standard_error)
    assert delete_one_error(linear(2), batches_of(some_rows(3, 2)), first_output).standard_error > 0


def test_the_null_of_identical_and_of_zero_gradients():
    identical = torch.ones(64, 2, dtype=torch.float64)
    found = null_band(linear(2), batches_of(identical, 10), first_output, repeats=50)
    assert found.num_examples == 64
    assert all(0 <= value <= 64 for value in found.values)
    assert found.mean == pytest.approx(1, abs=0.8)  # M_e is a square of a normal: sd 1.4 over 50
    nothing = null_band(linear(2), batches_of(torch.zeros(5, 2).double()), first_output)
    assert all(map(math.isnan, nothing.values))
    with pytest.raises(GradientError, match="repeats should be 1 or more, found 0"):
        null_band(linear(2), batches_of(identical), first_output, repeats=0)


def test_pairs_with_zero_gradients_are_left_out_and_counted():
    rows = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    found = pairwise(linear(2), rows, torch.zeros(4), first_output)
    assert found.num_zero == 1
    assert found.cosines[2].isnan().all()
    stiffness = found.stiffness(torch.tensor([0, 0, 0, 1]))
    assert (stiffness.num_pairs, stiffness.num_within) == (3, 1)
    assert stiffness.within_sign == 1
    assert stiffness.between_sign == -1
    assert stiffness.sign == pytest.approx(-1 / 3)
    assert stiffness.cosine == pytest.approx((math.sqrt(0.5) - 1 - math.sqrt(0.5)) / 3)
    assert (found.minimum_dot_product, found.minimum_cosine) == (-1, -1)
    assert math.isnan(found.stiffness().within_cosine)
    with pytest.raises(GradientError, match=r"labels should be.*\(4,\), found \(3,\)"):
        found.stiffness(torch.zeros(3))


def test_pairs_of_nothing_and_of_one():
    nothing = pairwise(linear(2), torch.zeros(3, 2).double(), torch.zeros(3), first_output)
    undefined = (nothing.diversity, nothing.effective_rank, nothing.noise_scale, nothing.stiffness().cosine)
    assert all(map(math.isnan, undefined))
    assert (nothing.alpha, nothing.mean_distance, nothing.num_zero) == (0, 0, 3)
    alone = pairwise(linear(2), torch.ones(1, 2).double(), torch.zeros(1), first_output)
    assert math.isnan(alone.mean_dot_product)
    assert math.isnan(alone.minimum_dot_product)


def test_orthogonal_gradients_have_no_signal_and_full_rank():
    found = GramStatistics(torch.eye(5, dtype=torch.float64))
    assert found.alpha == pytest.approx(1 / 5)
    assert (found.effective_rank, found.diversity, found.mean_dot_product) == (math.inf, 1, 0)
    opposed = GramStatistics(torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64))
    assert opposed.diversity == math.inf


def test_the_effective_rank_is_the_dimension_of_isotropic_noise():
    rows = torch.randn(400, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = pairwise(linear(12), rows, torch.zeros(400), first_output)
    assert found.effective_rank == pytest.approx(12, rel=0.05)  # 80,000 pairs: about 1 per cent


ROBUST = {
    "winsorised": lambda *batch: winsorized_gradient(*batch, LOSS, 10),
    "plain": lambda *batch: winsorized_gradient(*batch, LOSS, 0),
    "median of means": lambda *batch: median_of_means(*batch, LOSS, 3),
}


@pytest.mark.parametrize("aggregate", ROBUST.values(), ids=ROBUST)
def test_robust_gradients_refuse_batch_norm_in_training_mode(aggregate):
    with pytest.raises(GradientError, match=r"layers 1 are batch norm.*median_of_gradients"):
        aggregate(normed(), *pictures())
    assert len(aggregate(normed().eval(), *pictures())) == 6


@pytest.mark.parametrize("aggregate", ROBUST.values(), ids=ROBUST)
def test_nan_is_not_outvoted(aggregate):
    model, (inputs, targets) = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), pictures()
    inputs[2] = torch.nan
    assert all(gradient.isnan().all() for gradient in aggregate(model, inputs, targets))


def test_robust_gradients_say_what_they_need():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    for groups in (2, 7):
        with pytest.raises(GradientError, match=rf"groups should lie in \[3, 6\].*found {groups}"):
            median_of_means(model, *pictures(), LOSS, groups)
    with pytest.raises(GradientError, match=r"percent should lie in \[0, 50\], found 51"):
        winsorized_gradient(model, *pictures(), LOSS, 51)


MEASURES = {
    "helpfulness": helpfulness,
    "total gradient": total_gradient,
    "delete one": delete_one_error,
    "null band": null_band,
    "pairs": lambda model, batches, loss: pairwise(model, *batches[0], loss),
    "check": lambda model, batches, loss: check_per_example(model, batches[0], loss),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_measures_refuse_batch_norm_and_an_averaged_loss(measure):
    with pytest.raises(GradientError, match=r"layers 1 are batch norm.*batch_norm='eval'"):
        measure(normed(), [pictures()], LOSS)
    with pytest.raises(GradientError, match="one loss for each example"):
        measure(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), [pictures()], nn.CrossEntropyLoss())


@pytest.mark.parametrize("name", ["helpfulness", "delete one", "null band", "pairs"])
def test_gradients_that_are_not_finite_are_named(name):
    model, (inputs, targets) = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), pictures()
    inputs[1] = torch.inf
    with pytest.raises(NotFiniteError, match="layer 1: a gradient is not finite"):
        MEASURES[name](model, [(inputs, targets)], LOSS)


def test_the_check_is_a_table_with_a_verdict():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    report = check_per_example(model, pictures(), LOSS)
    lines = str(report).splitlines()
    assert report.ok
    assert len(lines) == 1 + 4 + 1
    assert lines[1].startswith("0.weight")
    assert lines[-1] == "ok: as a loop over 6 examples in float64"


def test_the_check_says_no_to_a_wrong_rule(monkeypatch):
    """A rule that gives the gradient of another input, as a mistaken one might."""
    right = RULES["AddmmBackward0"]
    monkeypatch.setitem(
        RULES, "AddmmBackward0", lambda meeting, gradients: right(meeting, [1.01 * gradients[0]])
    )
    report = check_per_example(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), pictures(), LOSS)
    assert not report.ok
    assert "WRONG: the gradients of 1.weight, 1.bias are not those of a loop" in str(report)


def test_the_check_names_fallbacks_and_keeps_the_model(monkeypatch):
    monkeypatch.delitem(RULES, "AddmmBackward0")
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).eval()
    report = check_per_example(model, pictures(), LOSS)
    assert report.ok
    assert report.fallbacks == ("1.weight", "1.bias")
    assert "fallback: AddmmBackward0" in str(report)
    assert not model.training
    assert model[1].weight.dtype == torch.float32


class InFloat32(nn.Module):
    """Does not run in float64."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(36, 3))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).to(torch.float32) @ self.weight


def test_the_check_does_without_float64_where_it_must():
    report = check_per_example(InFloat32(), pictures(), LOSS)
    assert (report.ok, report.reference) == (True, "float32")
