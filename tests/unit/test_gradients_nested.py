"""Coherence of nested sets of examples from one pass, against a pass for each."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from pipeline.gradients import (
    GradientError,
    impute_coherence_over,
    impute_nested,
    measure_coherence,
    measure_nested,
)

LOSS = nn.CrossEntropyLoss(reduction="none")
COUNT = 48


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def examples(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(COUNT, 6, generator=generator, dtype=torch.float64)
    return inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 1).long()


def batches(inputs: torch.Tensor, targets: torch.Tensor, size: int) -> list:
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def test_exact_parts_are_measured_as_if_alone():
    inputs, targets = examples()
    edges = [0, 8, 20, COUNT]
    parts = [batches(inputs[a:b], targets[a:b], 5) for a, b in pairwise(edges)]
    found = measure_nested(network(), parts, LOSS)
    assert [each.num_examples for each in found] == edges[1:]
    for each in found:
        m = each.num_examples
        alone = measure_coherence(network(), [(inputs[:m], targets[:m])], LOSS)
        # Float64, in another order.
        assert each.m_coherence == pytest.approx(alone.m_coherence, rel=1e-12)
        assert each.alpha_unbiased == pytest.approx(alone.alpha_unbiased, rel=1e-11)
        assert each.layers["0"].m_coherence == pytest.approx(alone.layers["0"].m_coherence, rel=1e-12)
        assert each.m_coherence == pytest.approx(1 + (m - 1) * each.alpha_unbiased, rel=1e-12)
        assert each.standard_error > 0  # every part fills its groups
        # Its size depends on how examples fall into 20 groups; its order of magnitude does not.
        assert 0.4 < each.standard_error / alone.standard_error < 2.5
    assert found[0].alpha_unbiased != pytest.approx(found[2].alpha_unbiased, rel=1e-3)


def test_one_part_is_a_plain_measurement():
    inputs, targets = examples()
    given = batches(inputs, targets, 12)
    assert measure_nested(network(), [given], LOSS) == [measure_coherence(network(), given, LOSS)]
    with pytest.raises(GradientError, match="no part was given"):
        measure_nested(network(), [], LOSS)


def test_imputed_parts_are_imputed_as_if_alone():
    partitions = [batches(*examples(seed), 4) for seed in (1, 2)]
    found = impute_nested(network(), partitions, LOSS, [4, 7])
    assert [each.num_batches for each in found] == [4, 7, 12]
    for each in found:
        alone = impute_coherence_over(network(), [walk[: each.num_batches] for walk in partitions], LOSS)
        assert each == alone  # the same sums in the same order: the same bits
        m = each.num_examples
        assert each.m_coherence == pytest.approx(1 + (m - 1) * each.alpha_unbiased, rel=1e-10)
    assert found[0].m_coherence != pytest.approx(found[1].m_coherence, rel=1e-3)


def test_gradients_beyond_the_memory_leave_parts_without_a_standard_error():
    given = batches(*examples(), 4)
    part, whole = impute_nested(network(), [given], LOSS, [5], memory=8 * 3 * 83)
    kept = impute_nested(network(), [given], LOSS, [5])
    assert math.isnan(part.standard_error)
    assert part.alpha == kept[0].alpha
    assert whole.standard_error == pytest.approx(kept[1].standard_error, rel=1e-12)


def test_parts_that_cannot_be_imputed_are_refused():
    given = batches(*examples(), 4)
    with pytest.raises(GradientError, match="imputing needs 4 batches or more, found 3"):
        impute_nested(network(), [given], LOSS, [3])
    for counts, found in (([4, 13], 12), ([7, 5], 7)):
        with pytest.raises(GradientError, match=f"first {counts[1]} batches were asked for after {found}"):
            impute_nested(network(), [given], LOSS, counts)
