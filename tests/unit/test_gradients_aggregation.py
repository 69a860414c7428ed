"""Aggregations against sorts: one gradient out of many, coordinate by coordinate."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from pipeline.gradients import (
    GradientError,
    mean_of_gradients,
    median_of_gradients,
    per_example_gradients,
    winsorized_mean,
)
from pipeline.gradients.aggregation.winsorized import winsorized_per_side

# A small pool of values makes ties and duplicates; infinities are among them.
TIES = st.sampled_from([-np.inf, -2.0, -1.0, -0.0, 0.0, 1.0, 1.5, np.inf])
NUMBERS = st.floats(allow_nan=False, width=32)


def rows(count: int, elements=NUMBERS | TIES):
    return hnp.arrays(np.float32, (count, 7), elements=elements)


def split_in_two(values: np.ndarray) -> list[list[torch.Tensor]]:
    """Each row as a gradient of two parameters, of shapes (2, 2) and (3,)."""
    wide = torch.from_numpy(values)
    return [[row[:4].view(2, 2), row[4:]] for row in wide]


def joined(gradient: list[torch.Tensor]) -> np.ndarray:
    return torch.cat([part.flatten() for part in gradient]).numpy()


@given(rows(3))
def test_median_of_three_is_the_middle_of_a_sort(values):
    middle = np.sort(values, axis=0)[1]  # oracle: sorts, where the code clamps
    # Exact: a median selects one of its inputs, so there is nothing to round.
    np.testing.assert_array_equal(joined(median_of_gradients(split_in_two(values))), middle)


@given(rows(3))
def test_median_of_three_is_torch_median(values):
    expected = torch.from_numpy(values).median(dim=0).values.numpy()
    np.testing.assert_array_equal(joined(median_of_gradients(split_in_two(values))), expected)


@pytest.mark.parametrize("count", [5, 7])
@given(data=st.data())
@settings(max_examples=30, deadline=None)  # else a busy machine fails it
def test_median_of_an_odd_number_is_the_middle_of_a_sort(count, data):
    values = data.draw(rows(count))
    middle = np.sort(values, axis=0)[count // 2]
    np.testing.assert_array_equal(joined(median_of_gradients(split_in_two(values))), middle)


@pytest.mark.parametrize("count", [4, 6])
@given(data=st.data())
@settings(max_examples=30, deadline=None)  # else a busy machine fails it
def test_median_of_an_even_number_is_the_mean_of_the_middle_two(count, data):
    values = data.draw(rows(count, st.floats(-1e6, 1e6, width=32)))
    ordered = np.sort(values, axis=0)
    expected = ordered[count // 2 - 1 : count // 2 + 1].mean(axis=0)
    # Two halves added against a sum halved: one rounding of float32.
    np.testing.assert_allclose(
        joined(median_of_gradients(split_in_two(values))), expected, rtol=1e-6, atol=1e-38
    )


def test_the_mean_of_two_middle_values_does_not_overflow():
    large = [[torch.tensor([3e38])]] * 4
    assert median_of_gradients(large)[0] == torch.tensor([3e38])


@pytest.mark.parametrize("count", [3, 4, 5])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_in_any_input_gives_nan(count, place):
    values = np.arange(7 * count, dtype=np.float32).reshape(count, 7)
    values[place, 3] = np.nan
    median = joined(median_of_gradients(split_in_two(values)))
    np.testing.assert_array_equal(np.isnan(median), np.arange(7) == 3)


def test_the_inputs_are_left_alone():
    for aggregate in (mean_of_gradients, median_of_gradients):
        gradients = split_in_two(np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32))
        before = [joined(gradient).copy() for gradient in gradients]
        aggregate(gradients)
        np.testing.assert_array_equal([joined(gradient) for gradient in gradients], before)


@given(rows(3, st.floats(-1e3, 1e3, width=32)), st.permutations(range(3)))
def test_the_order_of_micro_batches_does_not_matter_to_the_median(values, order):
    np.testing.assert_array_equal(
        joined(median_of_gradients(split_in_two(values))),
        joined(median_of_gradients(split_in_two(values[list(order)]))),
    )


def test_the_mean_is_not_a_median():
    gradients = [[torch.tensor([0.0])], [torch.tensor([0.0])], [torch.tensor([3.0])]]
    assert median_of_gradients(gradients)[0].item() == 0.0
    assert mean_of_gradients(gradients)[0].item() == 1.0


def test_a_median_of_two_is_refused_by_number():
    with pytest.raises(GradientError, match="needs 3 gradients or more, found 2"):
        median_of_gradients([[torch.zeros(1)], [torch.zeros(1)]])
    with pytest.raises(GradientError, match="found none"):
        mean_of_gradients([])


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_mean_over_micro_batches_is_one_big_batch(count):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    inputs, targets = torch.randn(4 * count, 6, dtype=torch.float64), torch.arange(4 * count) % 3
    loss = nn.CrossEntropyLoss()
    parameters = list(model.parameters())
    small = [
        torch.autograd.grad(loss(model(some), their), parameters)
        for some, their in zip(inputs.split(4), targets.split(4), strict=True)
    ]
    big = torch.autograd.grad(loss(model(inputs), targets), parameters)
    for mean, expected in zip(mean_of_gradients(small), big, strict=True):
        torch.testing.assert_close(mean, expected, rtol=1e-12, atol=1e-14)  # rounding of float64


def by_sort(values: np.ndarray, percent: float) -> np.ndarray:
    """Winsorised mean that sorts and overwrites, where the code clips."""
    ordered = np.sort(values.astype(np.float64), axis=0)
    pulled = winsorized_per_side(len(values), percent)
    if pulled:
        ordered[:pulled], ordered[-pulled:] = ordered[pulled], ordered[-1 - pulled]
    return ordered.mean(axis=0)


@pytest.mark.parametrize("percent", [0.0, 1.0, 4.0, 8.0, 33.0, 50.0])
@given(data=st.data(), count=st.integers(1, 30))
@settings(max_examples=20, deadline=None)  # the first one compiles
def test_winsorizing_against_a_sort(percent, data, count):
    values = data.draw(rows(count, st.floats(-100, 100, width=32)))
    found = winsorized_mean([torch.from_numpy(values)], percent)[0].numpy()
    np.testing.assert_allclose(found, by_sort(values, percent), atol=2e-5)  # sums of 30 float32 of size 100


def test_winsorizing_keeps_shapes():
    values = torch.randn(20, 3, 5, generator=torch.Generator().manual_seed(0))
    assert [part.shape for part in winsorized_mean([values, values[:, 0]], 8)] == [(3, 5), (5,)]


@pytest.mark.parametrize("count", [3, 8, 21])
def test_fifty_per_cent_is_the_median(count):
    values = torch.randn(count, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    # Rounding: the mean of `count` equal numbers, or of halves of two.
    np.testing.assert_allclose(winsorized_mean([values], 50)[0], np.median(values, axis=0), atol=1e-15)


@pytest.mark.parametrize(
    ("count", "percent", "pulled"), [(100, 0, 0), (100, 1, 1), (100, 8, 8), (100, 50, 49)]
)
def test_how_many_are_pulled_in(count, percent, pulled):
    assert winsorized_per_side(count, percent) == pulled


def test_winsorizing_tells_of_nan_and_of_nonsense():
    values = torch.zeros(10, 2)
    values[4, 1] = torch.nan
    assert winsorized_mean([values], 20)[0].isnan().tolist() == [False, True]
    with pytest.raises(GradientError, match=r"\[0, 50\], found 60"):
        winsorized_mean([values], 60)


def test_winsorizing_ignores_an_outlier_and_the_mean_does_not():
    values = torch.zeros(20, 1)
    values[0] = 100.0
    assert winsorized_mean([values], 5)[0].item() == 0.0
    assert winsorized_mean([values], 0)[0].item() == 5.0


def test_per_example_gradients_are_those_of_a_loop():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    model[1].bias.requires_grad_(False)
    inputs, targets = torch.randn(5, 1, 2, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    loss = nn.CrossEntropyLoss(reduction="none")
    found = per_example_gradients(model, inputs, targets, loss)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for i in range(5):
        alone = torch.autograd.grad(loss(model(inputs[i : i + 1]), targets[i : i + 1])[0], trainable)
        for gradients, expected in zip(found, alone, strict=True):
            torch.testing.assert_close(gradients[i], expected, rtol=1e-12, atol=1e-14)
