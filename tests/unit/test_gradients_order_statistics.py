"""Compiled winsorised means against sorts in float64, for every number of extremes, and at the odd sizes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.gradients import GradientError, WinsorizedGradient, winsorized_gradient, winsorized_mean
from pipeline.gradients import robust as robust_gradients
from pipeline.gradients.aggregation import order_statistics, winsorized
from pipeline.gradients.aggregation.networks import extremes_source

LOSS = nn.CrossEntropyLoss(reduction="none")


def by_sort(products: np.ndarray, extremes: int) -> np.ndarray:
    """Sorts `(m, *p)` and overwrites, where the code selects and clips."""
    ordered = np.sort(products.astype(np.float64), axis=0)  # NaN last
    count = len(ordered)
    ordered[:extremes], ordered[count - extremes :] = ordered[extremes], ordered[count - 1 - extremes]
    with np.errstate(invalid="ignore"):  # infinities of both signs
        mean = ordered.mean(axis=0)
    return np.where(np.isnan(products).any(axis=0), np.nan, mean)


def products_of(lead: torch.Tensor, trail: torch.Tensor) -> np.ndarray:
    return (lead[:, :, None] * trail[:, None, :]).numpy()


def factors(count: int, width: int, seed: int, *, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of which some have no zero, some have many, and one is all zeros; values tie in half of them."""
    generator = torch.Generator().manual_seed(seed)
    lead = torch.randn(count, 5, generator=generator, dtype=dtype)
    trail = torch.randn(count, width, generator=generator, dtype=dtype)
    lead[:, 1][torch.rand(count, generator=generator) < 0.5] = 0
    lead[:, 2][torch.rand(count, generator=generator) < 0.9] = 0
    lead[:, 3] = 0
    trail[:, ::2] = trail[:, ::2].round()
    return lead, trail


@pytest.fixture(params=[order_statistics.FEW, 0], ids=["pushed through", "sorted"])
def either_kernel(request, monkeypatch):
    monkeypatch.setattr(order_statistics, "FEW", request.param)


@pytest.mark.usefixtures("either_kernel")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [3, 4, 8, 9, 24])  # odd, even, less than a group and not a multiple
@pytest.mark.parametrize("width", [1, 63, 64, 65, 130])  # columns: less than a tile, one, and more
def test_the_winsorised_mean_of_products_is_that_of_a_sort(count, width, dtype):
    lead, trail = factors(count, width, seed=width, dtype=dtype)
    products = products_of(lead, trail)
    # Sums of up to 24 values of size 10.
    tolerance = 2e-6 if dtype == torch.float32 else 1e-14
    for extremes in {1, min(2, (count - 1) // 2), (count - 1) // 2}:  # each number is compiled
        found = order_statistics.compiled_means(lead, trail, extremes).numpy()
        np.testing.assert_allclose(found, by_sort(products, extremes), atol=tolerance)


@pytest.mark.usefixtures("either_kernel")
@given(
    count=st.integers(5, 30),
    seed=st.integers(0, 10**6),
    strange=st.lists(
        st.tuples(st.booleans(), st.integers(0, 4), st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -0.0])),
        max_size=4,
    ),
)
@settings(max_examples=40, deadline=None)  # the first one compiles
def test_what_is_not_finite_is_as_in_a_sort(count, seed, strange):
    lead, trail = factors(count, 70, seed)
    for in_lead, place, value in strange:
        (lead if in_lead else trail)[place, place] = value
    products = products_of(lead, trail)
    for extremes in {1, 2, (count - 1) // 2}:
        found = order_statistics.compiled_means(lead, trail, extremes).numpy()
        # Sums of up to 30 float32 in another order; no sum overflows in float32 alone.
        np.testing.assert_allclose(found, by_sort(products, extremes), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("either_kernel")
def test_outliers_do_not_cost_the_digits_of_the_rest():
    lead, trail = factors(40, 64, seed=0)
    lead[:2] *= 1e12
    found = order_statistics.compiled_means(lead, trail, 2).numpy()
    expected = by_sort(products_of(lead, trail), 2)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # The control: what is left of a sum when the extremes are taken from it again.
    products = products_of(lead, trail)
    ordered = np.sort(products, axis=0)
    left = products.sum(0) - ordered[:2].sum(0) - ordered[-2:].sum(0) + 2 * (ordered[2] + ordered[-3])
    assert np.abs(left / 40 - expected).max() > 1e3


@pytest.mark.parametrize("kept", range(1, 17))
def test_the_network_finds_the_extremes(kept):
    """The source as Python runs it, not compiled. Zeros and ones decide about networks (Knuth 5.3.4)."""
    space = {"np": np}
    exec(extremes_source("extremes", kept, 2), space)
    rng = np.random.default_rng(kept)
    for count in range(kept, kept + 20):
        rows = rng.integers(0, 2, (count, 2)).astype(np.float32)
        values = rng.choice([-1.0, 0.5, 2.0], (3, count)).astype(np.float32)
        values[1, count // 2 :], values[2] = 0, 0
        where = np.tile(np.arange(count), (3, 1))
        counts = np.array([count, count // 2, 0])
        low, high = np.empty((2, 3, 2), np.float32)
        space["extremes"](values, where, counts, rows, low, high)
        ordered = np.sort(values[:, :, None] * rows, axis=1)
        np.testing.assert_array_equal(low, ordered[:, kept - 1])
        np.testing.assert_array_equal(high, ordered[:, count - kept])


def test_rows_are_winsorised_as_products_with_one():
    rows = torch.randn(25, 300, generator=torch.Generator().manual_seed(0))
    for percent in (5, 20, 50):
        extremes = winsorized.winsorized_per_side(25, percent)
        found = winsorized.winsorized_columns(rows, percent)
        np.testing.assert_allclose(found.numpy(), by_sort(rows.numpy(), extremes), atol=1e-6)
        # Selected values are the same; sums of 25 float32 are rounded in another order.
        torch.testing.assert_close(found, winsorized._by_sort(rows, extremes), rtol=0, atol=1e-6)


@pytest.fixture
def without_numba(monkeypatch):
    """As on a GPU: what torch alone offers."""
    monkeypatch.setattr(order_statistics, "find_spec", lambda name: None)
    order_statistics._kernels.cache_clear()
    yield
    order_statistics._kernels.cache_clear()


def small_network() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 3)
    )
    return model.double(), torch.randn(30, 1, 6, 6, dtype=torch.float64), torch.arange(30) % 3


@pytest.mark.parametrize("percent", [4.0, 20.0, 50.0])
def test_winsorising_without_numba_is_the_same(percent, request):
    batch = small_network()
    compiled = winsorized_gradient(*batch, LOSS, percent)
    request.getfixturevalue("without_numba")
    assert order_statistics.compiled_means(torch.ones(3, 1), torch.ones(3, 1), 1) is None
    for one, other in zip(winsorized_gradient(*batch, LOSS, percent), compiled, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)  # rounding of float64


@pytest.mark.usefixtures("without_numba")
def test_values_at_once_bound_what_is_written_out(monkeypatch):
    batch, sizes = small_network(), []
    whole = winsorized_gradient(*batch, LOSS, 10)

    def spied(block: torch.Tensor, *arguments: object) -> torch.Tensor:
        sizes.append(block.numel())
        return winsorized.winsorized_columns(block, *arguments)

    monkeypatch.setattr(robust_gradients, "winsorized_columns", spied)
    largest = {}
    for bound in (10**6, 4000, 1):
        sizes.clear()
        found = winsorized_gradient(*batch, LOSS, 10, values_at_once=bound)
        largest[bound] = max(sizes)
        for one, other in zip(found, whole, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)  # rounding of the products
    # 30 examples: all 64 x 20 weights; two of 20 units with 64 weights; one of them.
    assert largest == {10**6: 30 * 64 * 20, 4000: 30 * 64 * 2, 1: 30 * 64}


@pytest.mark.usefixtures("without_numba")
def test_values_at_once_bound_what_is_sorted_and_change_nothing(monkeypatch):
    rows = torch.randn(20, 3, 5, generator=torch.Generator().manual_seed(0))
    whole, sizes, sort = winsorized_mean([rows], 8)[0], [], winsorized._by_sort
    monkeypatch.setattr(
        winsorized, "_by_sort", lambda block, extremes: sizes.append(block.numel()) or sort(block, extremes)
    )
    assert torch.equal(winsorized_mean([rows], 8, values_at_once=40)[0], whole)
    assert sizes == [40] * 7 + [20]


def test_a_bound_of_nothing_is_refused():
    for winsorise in (
        lambda: winsorized_gradient(*small_network(), LOSS, 10, values_at_once=0),
        lambda: winsorized_mean([torch.zeros(3, 2)], 10, values_at_once=0),
    ):
        with pytest.raises(GradientError, match="values_at_once should be 1 or more, found 0"):
            winsorise()


def test_too_few_examples_to_pull_any_in_are_plain_sgd_bitwise():
    model, inputs, targets = small_network()
    found, losses = WinsorizedGradient(model, LOSS, 1.0)(inputs, targets)  # 1 % of 29 rounds to none
    mean = LOSS(model(inputs), targets).mean()
    plain = torch.autograd.grad(mean, list(model.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))
    assert torch.equal(losses.mean(), mean.detach())
    two = WinsorizedGradient(model, LOSS, 2.0)(inputs, targets)[0]
    assert not torch.equal(two[0], plain[0])
