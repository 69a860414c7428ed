"""Coherence and GSNR from one pass, and GSNR imputed over several partitions."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.gradients import (
    GradientError,
    GsnrSums,
    PartitionedMoments,
    impute_coherence,
    impute_gsnr,
    impute_gsnr_over,
    impute_nested,
    measure_gsnr,
    measure_nested,
)

LOSS = nn.CrossEntropyLoss(reduction="none")


def network(*, batch_norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3) if batch_norm else nn.Identity()
    return nn.Sequential(nn.Conv2d(1, 3, 3), norm, nn.Tanh(), nn.Flatten(), nn.Linear(48, 3))


def batches(sizes: list[int], seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(size, 1, 6, 6, generator=generator), torch.arange(size) % 3) for size in sizes]


def same(found, wanted) -> bool:
    """Whether two GSNRs are bitwise the same."""
    return all(
        torch.equal(getattr(found, kind)[name], values)
        for kind in ("mean", "variance")
        for name, values in getattr(wanted, kind).items()
    )


def test_one_pass_gives_what_two_give():
    parts = [batches([5, 4]), batches([7], seed=2)]
    sums = GsnrSums(network(), LOSS, signs=True)
    found = measure_nested(network(), parts, LOSS, gsnr=sums)
    assert found == measure_nested(network(), parts, LOSS)
    alone = measure_gsnr(network(), [*parts[0], *parts[1]], LOSS, signs=True)
    assert same(sums.finish(), alone)
    assert sums.finish().sign_agreement == alone.sign_agreement


def test_the_pass_is_one():
    """A control on what is claimed: forward passes are counted, of the network that both are given."""
    calls = []
    model = network()
    model.register_forward_hook(lambda *_: calls.append(1))
    some = batches([8] * 6)

    def passes(gsnr) -> int:
        calls.clear()
        measure_nested(model, [some], LOSS, gsnr=gsnr)
        return len(calls)

    alone = passes(None)
    assert passes(GsnrSums(model, LOSS, signs=True)) == alone >= 6
    calls.clear()
    measure_gsnr(model, some, LOSS)
    assert len(calls) >= 6  # what a second pass would cost


def test_imputed_ones_share_their_gradients():
    partitions = [batches([6] * 5, seed) for seed in (3, 4)]
    moments = PartitionedMoments(network(batch_norm=True), LOSS)
    found = impute_nested(network(batch_norm=True), partitions, LOSS, [4], gsnr=moments)
    assert found == impute_nested(network(batch_norm=True), partitions, LOSS, [4])
    assert same(moments.finish(), impute_gsnr_over(network(batch_norm=True), partitions, LOSS))


def test_several_partitions_average_mean_and_variance():
    partitions = [batches([6] * 5, seed) for seed in (3, 4, 5)]
    singles = [impute_gsnr(network(), partition, LOSS) for partition in partitions]
    found = impute_gsnr_over(network(), partitions, LOSS)
    assert (found.num_partitions, found.num_batches, found.num_examples) == (3, 5, 30)
    for name, mean in found.mean.items():
        expected = sum(single.mean[name] for single in singles) / 3
        torch.testing.assert_close(mean, expected, rtol=1e-12, atol=1e-18)  # float64, in another order
        expected = sum(single.variance[name] for single in singles) / 3
        torch.testing.assert_close(found.variance[name], expected, rtol=1e-12, atol=1e-24)
    assert same(impute_gsnr_over(network(), partitions[:1], LOSS), singles[0])


@pytest.mark.parametrize("number", [1, 4, 40])
def test_the_debiased_ratio_of_several_partitions_is_unbiased(number):
    """Normal gradients of known GSNR, the same examples cut into batches in several ways; 30 draws."""
    truth, m, k, p = 0.05, 40, 5, 500
    model = nn.Linear(p, 1, bias=False).double()
    means = []
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(m, p, dtype=torch.float64, generator=generator) + truth**0.5
        orders = [torch.randperm(m, generator=generator) for _ in range(number)]
        partitions = [[(rows[some], torch.zeros(k)) for some in order.split(k)] for order in orders]
        found = impute_gsnr_over(model, partitions, lambda output, _: output[:, 0])
        means.append([found.whole.debiased.mean, found.whole.raw.mean])
    debiased, raw = torch.tensor(means).unbind(1)
    error = float(debiased.std()) / len(debiased) ** 0.5
    assert abs(float(debiased.mean()) - truth) < 4 * error
    # The control: seven degrees of freedom, whatever the number of partitions, would be off where it counts.
    plain = 5 / 7 * raw - 1 / m
    assert (abs(float(plain.mean()) - truth) > 6 * error) == (number > 1)


def test_partitions_that_do_not_agree_are_refused():
    with pytest.raises(GradientError, match="no partition was given"):
        impute_gsnr_over(network(), [], LOSS)
    with pytest.raises(GradientError, match="the first has 5 batches of 6, another 6 of 5"):
        impute_gsnr_over(network(), [batches([6] * 5), batches([5] * 6)], LOSS)
    with pytest.raises(GradientError, match="imputing needs 4 batches"):
        impute_gsnr_over(network(), [batches([6] * 3)], LOSS)


def test_a_refused_batch_reaches_neither():
    moments = PartitionedMoments(network(), LOSS)
    with pytest.raises(GradientError, match="number 3 has 5"):
        impute_nested(network(), [batches([6, 6, 5, 6])], LOSS, [], gsnr=moments)
    stream = moments._stream
    assert (stream.num_batches, stream._moments.count) == (2, 2)


def test_osgr_is_the_same_number_in_both():
    """What coherence and GSNR say about a step is one number, of the network, a layer and a tensor."""
    some = [(inputs.double(), targets) for inputs, targets in batches([6] * 5)]
    model = network().double()
    sums = GsnrSums(model, LOSS)
    (exact,) = measure_nested(model, [some], LOSS, gsnr=sums)
    pairs = [(exact, sums.finish())]
    pairs.append((impute_coherence(model, some, LOSS), impute_gsnr(model, some, LOSS)))
    for coherence, gsnr in pairs:
        assert coherence.osgr == pytest.approx(gsnr.whole.osgr, rel=1e-9)  # float64, summed in another order
        for kind in ("layers", "parameters"):
            theirs = getattr(gsnr, kind)
            for name, part in getattr(coherence, kind).items():
                assert part.osgr == pytest.approx(theirs[name].osgr, rel=1e-9, abs=1e-9)
    assert exact.osgr < 1  # no step does more for new examples than for its own
