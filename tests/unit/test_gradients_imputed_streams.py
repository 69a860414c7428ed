"""Imputed coherence batch by batch: merging, saving, refusing; and per parameter tensor."""

import copy
import io
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.gradients import (
    GradientError,
    ImputedCoherence,
    ImputedMoments,
    ImputedSums,
    NotFiniteError,
    impute_at_two_sizes,
    impute_coherence,
    impute_coherence_over,
    impute_gsnr,
    measure_coherence,
)

LOSS = nn.CrossEntropyLoss(reduction="none")
STREAMS = [ImputedSums, ImputedMoments]


def some_batches(count: int = 6, size: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(size, 1, 6, 6, generator=generator), torch.arange(size) % 3) for _ in range(count)]


def normed() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def streamed(stream, batches):
    for inputs, targets in batches:
        stream.add(inputs, targets)
    return stream


def numbers(found) -> dict[str, float | Tensor]:
    """Every statistic of a result, by name."""
    if not isinstance(found, ImputedCoherence):
        return {
            f"{kind} {name}": value
            for kind in ("mean", "variance")
            for name, value in getattr(found, kind).items()
        }
    groups = {"": found, **found.layers, **found.parameters}
    return {
        f"{field} {name}": getattr(group, field)
        for name, group in groups.items()
        for field in ("m_coherence", "alpha_unbiased", "standard_error", "n_eff", "n_live")
    }


def assert_same(found, expected, rtol: float = 0.0) -> None:
    found, expected = numbers(found), numbers(expected)
    assert list(found) == list(expected)
    for name, value in found.items():
        pair = torch.as_tensor(value), torch.as_tensor(expected[name])
        atol = rtol * float(pair[1].nan_to_num().abs().max())
        torch.testing.assert_close(*pair, rtol=rtol, atol=atol, equal_nan=True, msg=name)


@pytest.mark.parametrize("stream", STREAMS)
def test_batch_by_batch_is_all_at_once(stream):
    impute = impute_coherence if stream is ImputedSums else impute_gsnr
    found = streamed(stream(normed(), LOSS), some_batches()).finish()
    assert_same(found, impute(normed(), some_batches(), LOSS))
    assert (found.batch_size, found.num_batches, found.num_examples) == (4, 6, 24)
    assert found.estimator == "imputed"


def test_results_say_how_they_were_had():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    assert measure_coherence(plain, some_batches(), LOSS).estimator == "exact"
    assert impute_coherence(plain, some_batches(), LOSS).estimator == "imputed"


@pytest.mark.parametrize("stream", STREAMS)
@given(first=st.integers(0, 6))
@settings(max_examples=7, deadline=None)
def test_parts_merge_to_the_whole(stream, first):
    batches = some_batches()
    one = streamed(stream(normed(), LOSS), batches[:first])
    other = streamed(stream(normed(), LOSS), batches[first:])
    one.merge(other)
    # Rounding of float64 sums in another order; some statistics are differences of near numbers.
    assert_same(one.finish(), streamed(stream(normed(), LOSS), batches).finish(), rtol=1e-11)


@pytest.mark.parametrize("stream", STREAMS)
def test_merging_leaves_the_other_as_it_was(stream):
    batches = some_batches(12)
    one, other = stream(normed(), LOSS), streamed(stream(normed(), LOSS), batches[:6])
    before = other.finish()
    one.merge(other)
    streamed(one, batches[6:])
    assert_same(other.finish(), before)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_is_saved_and_resumed_bitwise(stream):
    batches = some_batches(12)
    begun = streamed(stream(normed(), LOSS), batches[:5])
    file = io.BytesIO()
    state = begun.state_dict()
    streamed(begun, batches[5:])  # what goes on does not reach into what was taken out
    torch.save(state, file)
    file.seek(0)
    resumed = stream.from_state_dict(torch.load(file, weights_only=True), normed(), LOSS)
    assert_same(streamed(resumed, batches[5:]).finish(), begun.finish())


def test_the_options_are_saved_with_the_sums():
    sums = streamed(ImputedSums(normed(), LOSS, batch_norm="eval", standard_error=False), some_batches())
    resumed = ImputedSums.from_state_dict(sums.state_dict(), normed(), LOSS)
    batch = some_batches(7)[-1]
    assert_same(streamed(resumed, [batch]).finish(), streamed(sums, [batch]).finish())


@pytest.mark.parametrize("stream", STREAMS)
def test_what_does_not_belong_together_is_not_merged(stream):
    sums = streamed(stream(normed(), LOSS), some_batches())
    before = sums.finish()
    other_net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    with pytest.raises(GradientError, match="different networks, or in different modes"):
        sums.merge(streamed(stream(other_net, LOSS), some_batches()))
    with pytest.raises(GradientError, match="different networks, or in different modes"):
        sums.merge(streamed(stream(normed(), LOSS, batch_norm="eval"), some_batches()))
    with pytest.raises(GradientError, match="batches of 4 and of 5 examples"):
        sums.merge(streamed(stream(normed(), LOSS), some_batches(size=5)))
    with pytest.raises(GradientError, match="a network with other trainable parameters"):
        stream.from_state_dict(sums.state_dict(), other_net, LOSS)
    assert_same(sums.finish(), before)


def test_sums_with_and_without_a_standard_error_are_not_merged():
    with pytest.raises(GradientError, match="with and without a standard error"):
        ImputedSums(normed(), LOSS).merge(ImputedSums(normed(), LOSS, standard_error=False))


@pytest.mark.parametrize("stream", STREAMS)
def test_a_refused_batch_leaves_no_trace(stream):
    batches = some_batches()
    sums = streamed(stream(normed(), LOSS), batches[:3])
    bad = batches[3][0].clone()
    bad[1, 0, 2, 2] = torch.inf
    with pytest.raises(NotFiniteError, match="layer 0: a gradient is not finite"):
        sums.add(bad, batches[3][1])
    with pytest.raises(GradientError, match="the first has 4 examples, number 4 has 3"):
        sums.add(batches[3][0][:3], batches[3][1][:3])
    assert_same(streamed(sums, batches[3:]).finish(), streamed(stream(normed(), LOSS), batches).finish())


@pytest.mark.parametrize("stream", STREAMS)
def test_too_little_is_refused(stream):
    with pytest.raises(GradientError, match="needs 4 batches or more, found 0"):
        stream(normed(), LOSS).finish()
    with pytest.raises(GradientError, match="needs 4 batches or more, found 3"):
        streamed(stream(normed(), LOSS), some_batches(3)).finish()
    singles = [(torch.randn(1, 36), torch.tensor([0])) for _ in range(5)]
    with pytest.raises(GradientError, match="measure_coherence for single ones"):
        streamed(stream(nn.Linear(36, 3), LOSS), singles).finish()


@pytest.mark.parametrize("stream", STREAMS)
def test_the_network_is_left_as_it_was_after_each_batch(stream):
    model = normed().eval()
    model[0].train()
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    streamed(stream(model, LOSS), some_batches()).finish()
    assert [module.training for module in model] == [True, False, False, False, False]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_without_a_standard_error_nothing_is_kept():
    sums = streamed(ImputedSums(normed(), LOSS, standard_error=False, memory=0), some_batches())
    found, full = sums.finish(), impute_coherence(normed(), some_batches(), LOSS)
    assert math.isnan(found.standard_error)
    assert not math.isnan(full.standard_error)
    assert replace(found, standard_error=0, layers={}, parameters={}) == replace(
        full, standard_error=0, layers={}, parameters={}
    )
    assert sums.state_dict()["sums"]["gradients"] == []
    once = impute_coherence(normed(), iter(some_batches()), LOSS, standard_error=False, memory=0)
    assert_same(once, found)


def test_a_standard_error_beyond_the_memory_is_refused():
    model = normed()
    room = 4 * sum(parameter.nbytes for parameter in model.parameters())
    sums = streamed(ImputedSums(model, LOSS, memory=room), some_batches(4))
    before = sums.finish()
    with pytest.raises(GradientError, match=f"those of 4 take the {room} bytes.*standard_error=False"):
        sums.add(*some_batches(1)[0])
    with pytest.raises(GradientError, match="those of 4 take"):
        sums.merge(streamed(ImputedSums(model, LOSS), some_batches(4)))
    assert_same(sums.finish(), before)


class Reshuffled:
    """A loader that deals the same examples to other batches in each walk."""

    def __init__(self):
        inputs, targets = zip(*some_batches(), strict=True)
        self.inputs, self.targets = torch.cat(inputs), torch.cat(targets)
        self.generator = torch.Generator().manual_seed(1)

    def __iter__(self):
        for rows in torch.randperm(len(self.inputs), generator=self.generator).split(4):
            yield self.inputs[rows], self.targets[rows]


def test_a_second_walk_over_other_batches_is_refused():
    assert impute_coherence(normed(), Reshuffled(), LOSS).standard_error > 0  # all kept: one walk
    with pytest.raises(GradientError, match="second walk over the batches gave other batches"):
        impute_coherence(normed(), Reshuffled(), LOSS, memory=0)


def test_a_loader_that_shuffles_by_the_global_generator_is_walked_twice_alike():
    shuffled = Reshuffled()
    shuffled.generator = None  # the global one, which each walk finds as it was
    twice = impute_coherence(normed(), shuffled, LOSS, memory=0)
    assert_same(twice, impute_coherence(normed(), shuffled, LOSS))


def test_alpha_is_the_share_weighted_sum_over_parameter_tensors():
    """Theorem 7 of arXiv 2203.10036 holds for any division of the parameters."""
    model = normed()
    model[0].bias.requires_grad_(False)
    partitions = [some_batches(), some_batches(6)[::-1]]
    found = impute_coherence_over(model.double(), [_doubled(batches) for batches in partitions], LOSS)
    assert list(found.parameters) == ["0.weight", "1.weight", "1.bias", "4.weight", "4.bias"]
    shares = [tensor.share for tensor in found.parameters.values()]
    assert sum(shares) == pytest.approx(1, rel=1e-12)
    total = sum(tensor.share * tensor.alpha for tensor in found.parameters.values())
    assert total == pytest.approx(found.alpha, rel=1e-10)
    both = found.parameters["4.weight"].share + found.parameters["4.bias"].share
    assert both == pytest.approx(found.layers["4"].share, rel=1e-12)
    alone = found.parameters["0.weight"]
    assert alone.m_coherence == pytest.approx(found.layers["0"].m_coherence, rel=1e-12)


def _doubled(batches):
    return [(inputs.double(), targets) for inputs, targets in batches]


def test_two_sizes_from_an_iterator():
    batches = some_batches(8)
    found = impute_at_two_sizes(normed(), iter(batches), LOSS)
    for one, other in zip(found, impute_at_two_sizes(normed(), batches, LOSS), strict=True):
        assert_same(one, other)
    assert [coherence.batch_size for coherence in found] == [4, 8]


def test_sparse_gradients_count_like_dense_ones():
    tokens = [(torch.randint(7, (4, 3)), torch.arange(4) % 3) for _ in range(5)]
    found = []
    for sparse in (False, True):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Embedding(7, 5, sparse=sparse), nn.Flatten(), nn.Linear(15, 3))
        found.append(impute_coherence(model, tokens, LOSS))
    assert_same(*found, rtol=1e-6)  # the sparse gradient is added up in another order, in float32
