"""Coherence of gradients that are known by construction, and the identities of the paper."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.gradients import (
    Coherence,
    CoherenceSums,
    GradientError,
    impute_at_two_sizes,
    impute_coherence,
    impute_coherence_over,
    measure_coherence,
)


def first_output(output: Tensor, _: Tensor) -> Tensor:
    """The loss under which the gradient of `linear`'s weights at an example is the example itself."""
    return output[:, 0]


def linear(width: int) -> nn.Module:
    return nn.Linear(width, 1, bias=False).double()


def exact(gradients: Tensor, batch: int = 100):
    batches = [(rows, torch.zeros(len(rows))) for rows in gradients.split(batch)]
    return measure_coherence(linear(gradients.shape[1]), batches, first_output)


def imputed(gradients: Tensor, k: int):
    batches = [(rows, torch.zeros(len(rows))) for rows in gradients.split(k)]
    return impute_coherence(linear(gradients.shape[1]), batches, first_output)


def some_gradients(m: int, p: int, seed: int, signal: float = 0.3) -> Tensor:
    values = torch.randn(m, p, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return values + signal


# Tolerance 1e-6 in float64: the bar of the project; rounding is 1e-13 here.
def test_identical_examples_give_m():
    identical = torch.tensor([[0.3, -2.0, 0.0, 5.0]], dtype=torch.float64).repeat(24, 1)
    for coherence in (exact(identical), imputed(identical, 4)):
        assert coherence.m_coherence == pytest.approx(24, abs=1e-6)
        assert coherence.alpha_unbiased == pytest.approx(1, abs=1e-6)
        assert coherence.n_live == coherence.num_gradients
        assert coherence.se_valid


def test_orthogonal_examples_give_one():
    orthogonal = torch.eye(24, dtype=torch.float64)
    for coherence in (exact(orthogonal), imputed(orthogonal, 4)):
        assert coherence.m_coherence == pytest.approx(1, abs=1e-6)
        assert coherence.alpha_unbiased == pytest.approx(0, abs=1e-6)


def test_k_copies_of_orthogonal_gradients_give_k():
    copies = torch.eye(6, dtype=torch.float64).repeat(4, 1)
    assert exact(copies).m_coherence == pytest.approx(4, abs=1e-6)
    # Imputed over many random partitions: M depends on which copies share a batch, its mean does not.
    model, targets, generator = linear(6), torch.zeros(4), torch.Generator().manual_seed(0)
    partitions = [
        [(copies[rows], targets) for rows in torch.randperm(24, generator=generator).split(4)]
        for _ in range(400)
    ]
    found = impute_coherence_over(model, partitions, first_output).m_coherence
    assert found == pytest.approx(4, rel=0.03)  # 400 random partitions: about 1 per cent of noise


def test_opposed_examples_give_zero():
    opposed = torch.tensor([[1.0, 2.0], [-1.0, -2.0]], dtype=torch.float64).repeat(10, 1)
    coherence = exact(opposed)
    assert coherence.m_coherence == pytest.approx(0, abs=1e-6)
    assert coherence.alpha_unbiased < 0  # the sign is kept


def test_zero_gradients_are_zero_and_counted():
    nothing = torch.zeros(24, 3, dtype=torch.float64)
    for coherence in (exact(nothing), imputed(nothing, 4)):
        assert (coherence.alpha, coherence.m_coherence, coherence.n_live, coherence.n_eff) == (0, 0, 0, 0)
        assert math.isnan(coherence.alpha_unbiased)
        assert math.isnan(coherence.standard_error)
        assert not coherence.se_valid


def test_one_example_helps_only_itself():
    coherence = exact(torch.ones(1, 3, dtype=torch.float64))
    assert coherence.m_coherence == pytest.approx(1)
    assert math.isnan(coherence.alpha_unbiased)


def test_one_example_that_is_all_of_the_gradient():
    """n_eff tells that 99 examples say nothing; leaving out the one that speaks gives 0/0."""
    lonely = torch.zeros(100, 3, dtype=torch.float64)
    lonely[7] = 1.0
    coherence = exact(lonely)
    assert (coherence.n_live, coherence.n_eff) == (1, pytest.approx(1))
    assert coherence.m_coherence == pytest.approx(1)
    assert math.isnan(coherence.standard_error)
    assert not coherence.se_valid


@given(st.integers(2, 50), st.integers(1, 6), st.integers(0, 10**6), st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_coherence_by_hand_scaled_and_permuted(m, p, seed, scale):
    gradients = some_gradients(m, p, seed)
    g = gradients.numpy()
    expected = np.square(g.sum(0)).sum() / np.square(g).sum()
    shuffled = gradients[torch.randperm(m, generator=torch.Generator().manual_seed(seed))]
    for found in (exact(gradients), exact(scale * gradients), exact(shuffled, batch=7)):
        assert found.m_coherence == pytest.approx(expected, rel=1e-9)  # rounding of float64 sums
        assert 0 <= found.m_coherence <= m * (1 + 1e-12)
        assert found.alpha_unbiased == pytest.approx((expected - 1) / (m - 1), rel=1e-9, abs=1e-9)
        norms = np.square(g).sum(1)
        assert found.n_eff == pytest.approx(norms.sum() ** 2 / np.square(norms).sum(), rel=1e-9)


@pytest.mark.parametrize("batch", [100, 25, 5])
def test_the_standard_error_is_that_of_delete_a_group(batch):
    g = some_gradients(100, 5, 3).numpy()
    without = []
    for group in range(20):  # five neighbours each, however they came in batches
        rest = np.delete(g, slice(5 * group, 5 * group + 5), axis=0)
        without.append((np.square(rest.sum(0)).sum() / np.square(rest).sum() - 1) / (len(rest) - 1))
    expected = math.sqrt(19 / 20 * np.square(np.array(without) - np.mean(without)).sum())
    assert exact(torch.from_numpy(g), batch).standard_error == pytest.approx(expected, rel=1e-9)


def test_no_standard_error_is_kept_unless_asked_for():
    gradients = some_gradients(60, 5, 3)
    batches = [(gradients, torch.zeros(60))]
    without = measure_coherence(linear(5), batches, first_output, standard_error=False)
    assert math.isnan(without.standard_error)
    assert without.m_coherence == pytest.approx(exact(gradients).m_coherence, rel=1e-12)


def test_the_imputed_standard_error_is_that_of_delete_one_batch():
    gradients, k = some_gradients(60, 5, 4), 6
    means = gradients.view(10, k, 5).mean(1).numpy()
    without = []
    for left_out in range(10):
        rest = np.delete(means, left_out, axis=0)
        v, p, b = np.square(rest).sum(1).mean(), np.square(rest.mean(0)).sum(), 9
        g2, t = (b * p - v) / (b - 1), k * b / (b - 1) * (v - p)
        without.append(g2 / (g2 + t))
    expected = math.sqrt(9 / 10 * np.square(np.array(without) - np.mean(without)).sum())
    assert imputed(gradients, k).standard_error == pytest.approx(expected, rel=1e-9)


def test_imputing_is_unbiased_where_the_truth_is_known():
    """Gradients N(mean, 1) in p dimensions: alpha = |mean|^2 / (|mean|^2 + p)."""
    p, signal = 8, 0.2
    truth = p * signal**2 / (p * signal**2 + p)
    found = [imputed(some_gradients(100, p, seed, signal), 5).alpha_unbiased for seed in range(60)]
    # Five standard errors of 60 draws; the plain sample value (1 - truth) / 100 above would be told from it.
    margin = 5 * np.std(found) / math.sqrt(60)
    assert abs(np.mean(found) - truth) < margin


def test_both_sizes_of_batches_agree():
    gradients = some_gradients(240, 6, 5)
    batches = [(rows, torch.zeros(len(rows))) for rows in gradients.split(6)]
    small, large = impute_at_two_sizes(linear(6), batches, first_output)
    assert (small.batch_size, small.num_batches, large.batch_size, large.num_batches) == (6, 40, 12, 20)
    spread = math.hypot(small.standard_error, large.standard_error)
    assert abs(small.alpha_unbiased - large.alpha_unbiased) < 3 * spread
    with pytest.raises(GradientError, match="39 batches cannot be merged in pairs"):
        impute_at_two_sizes(linear(6), batches[1:], first_output)


def sums_of(inputs: Tensor, batch: int = 8) -> CoherenceSums:
    sums = CoherenceSums(three_layers(), nn.CrossEntropyLoss(reduction="none"))
    for rows in inputs.split(batch):
        if len(rows):
            sums.add(rows, torch.arange(len(rows)) % 3)
    return sums


def assert_same(found: Coherence, wanted: Coherence) -> None:
    pairs = [(found, wanted), (found.layers["2"], wanted.layers["2"])]
    pairs.append((found.parameters["4.bias"], wanted.parameters["4.bias"]))
    for one, other in pairs:
        # Sums of float64 in another order.
        assert one.m_coherence == pytest.approx(other.m_coherence, rel=1e-12)
        assert one.n_eff == pytest.approx(other.n_eff, rel=1e-12)
        assert (one.n_live, one.num_examples) == (other.n_live, other.num_examples)


@given(st.integers(0, 5), st.integers(1, 5), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_merged_sums_are_the_sums_of_all(first, second, seed):
    inputs = some_gradients(8 * (first + second), 5, seed)
    merged = sums_of(inputs[: 8 * first])
    merged.merge(sums_of(inputs[8 * first :]))
    assert_same(merged.finish(), sums_of(inputs).finish())


def test_sums_go_on_from_a_file_as_if_never_stopped(tmp_path):
    inputs = some_gradients(80, 5, 1)
    stopped = sums_of(inputs[:40])
    torch.save(stopped.state_dict(), tmp_path / "sums.pt")
    stopped.add(inputs[:8], torch.arange(8) % 3)  # what comes later is not in the file
    state = torch.load(tmp_path / "sums.pt", weights_only=True)
    resumed = CoherenceSums.from_state_dict(state, three_layers(), nn.CrossEntropyLoss(reduction="none"))
    for rows in inputs[40:].split(8):
        resumed.add(rows, torch.arange(8) % 3)
    assert resumed.finish() == sums_of(inputs).finish()  # bitwise, the standard error too


def test_sums_of_two_networks_are_not_merged():
    loss = nn.CrossEntropyLoss(reduction="none")
    one, other = CoherenceSums(three_layers(), loss), CoherenceSums(nn.Linear(5, 3), loss)
    with pytest.raises(GradientError, match="different networks"):
        one.merge(other)
    with pytest.raises(GradientError, match="another network"):
        CoherenceSums.from_state_dict(one.state_dict(), nn.Linear(5, 3), loss)


def three_layers() -> nn.Module:
    torch.manual_seed(2)
    layers = (nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    return nn.Sequential(*layers).double()


def test_alpha_is_the_share_weighted_sum_over_layers():
    """Theorem 7 of arXiv 2203.10036."""
    inputs, targets = some_gradients(30, 5, 0), torch.arange(30) % 3
    loss = nn.CrossEntropyLoss(reduction="none")
    batches = list(zip(inputs.split(5), targets.split(5), strict=True))
    for coherence in (
        measure_coherence(three_layers(), batches, loss),
        impute_coherence(three_layers(), batches, loss),
    ):
        layers = coherence.layers
        assert list(layers) == ["0", "2", "4"]
        assert sum(layer.share for layer in layers.values()) == pytest.approx(1, rel=1e-12)
        total = sum(layer.share * layer.alpha for layer in layers.values())
        assert total == pytest.approx(coherence.alpha, rel=1e-10)


def test_zero_gradients_dilute():
    """alpha(W) = p alpha(V) where a share p of the examples is live (arXiv 2203.10036)."""
    live = some_gradients(30, 4, 1)
    mixture = torch.cat([live, torch.zeros(90, 4, dtype=torch.float64)])
    assert exact(mixture).alpha == pytest.approx(exact(live).alpha / 4, rel=1e-10)
    assert exact(mixture).n_live == 30


def test_distance_of_pairs():
    """Lemma 6: E||g - g'||^2 = 2 (1 - alpha) E||g||^2 over pairs with repetition; E||g - g'|| is below."""
    gradients = some_gradients(25, 4, 6)
    pairs = torch.cdist(gradients, gradients, compute_mode="donot_use_mm_for_euclid_dist")
    bound = 2 * (1 - exact(gradients).alpha) * gradients.square().sum(1).mean().item()
    assert pairs.square().mean().item() == pytest.approx(bound, rel=1e-10)
    assert pairs.mean().item() <= math.sqrt(bound)
