"""What is imputed through batch norm, against plain backward passes and numpy, and single examples."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import build
from pipeline.gradients import impute_coherence, impute_gsnr

LOSS = nn.CrossEntropyLoss(reduction="none")


def loop(model: nn.Module, batches) -> dict[str, np.ndarray]:
    """Gradients of the batches by the plain way, in float64: `{parameter name: (B, p)}`."""
    rows: dict[str, list[np.ndarray]] = {}
    for inputs, targets in batches:
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        for name, parameter in model.named_parameters():
            rows.setdefault(name, []).append(parameter.grad.flatten().double().numpy())
    return {name: np.stack(values) for name, values in rows.items()}


def coherence(rows: np.ndarray, k: int) -> tuple[float, float]:
    """M and alpha_U by pairs of batches: no sum of all gradients, no V and no P.

    The mean product of two different batches estimates the squared norm of the mean gradient, that of a batch
    with itself has 1/k of the variance of an example on top.
    """
    num_batches = len(rows)
    gram = rows @ rows.T
    same = np.trace(gram) / num_batches
    other = (gram.sum() - np.trace(gram)) / (num_batches * (num_batches - 1))
    variance = k * (same - other)  # of one example, summed over parameters; ddof 1
    m = k * num_batches
    mean_square = other + variance / m  # of the sample: the squared norm of its mean gradient
    sample_variance = variance * (m - 1) / m  # ddof 0
    return m * mean_square / (mean_square + sample_variance), other / (other + variance)


def resnet(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    model = build("resnet", {"widths": [4, 8], "blocks": [1, 1]}, (3, 8, 8), 10)
    return model.to(dtype).train()


def some_batches(dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(8, 3, 8, 8, generator=generator).to(dtype), torch.randint(10, (8,), generator=generator))
        for _ in range(6)
    ]


@pytest.mark.parametrize("batch_norm", ["train", "eval"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coherence_through_batch_norm_is_that_of_a_loop(dtype, batch_norm):
    model, batches = resnet(dtype), some_batches(dtype)
    found = impute_coherence(model, batches, LOSS, batch_norm=batch_norm)
    rows = loop(model.train(batch_norm == "train"), batches)
    m_coherence, unbiased = coherence(np.hstack(list(rows.values())), 8)
    # One and the same gradients, whose widening is exact: what differs is the order of float64 sums, and in
    # float32 the mean loss, which cross_entropy takes in another order.
    precise = 1e-12 if dtype is torch.float64 else 1e-6
    assert found.m_coherence == pytest.approx(m_coherence, rel=precise)
    assert found.alpha_unbiased == pytest.approx(unbiased, rel=10 * precise)  # a difference
    assert list(found.parameters) == list(rows)
    total = sum(np.square(values).sum() for values in rows.values())
    for name, values in rows.items():
        if np.square(values).sum() > 1e-10 * total:  # others are rounding: a bias before batch norm
            assert found.parameters[name].m_coherence == pytest.approx(
                coherence(values, 8)[0], rel=10 * precise
            )
    for layer, statistics in found.layers.items():
        parts = [values for name, values in rows.items() if name.rpartition(".")[0] == layer]
        assert statistics.m_coherence == pytest.approx(coherence(np.hstack(parts), 8)[0], rel=10 * precise)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gsnr_through_batch_norm_is_that_of_a_loop(dtype):
    model, batches = resnet(dtype), some_batches(dtype)
    found = impute_gsnr(model, batches, LOSS)
    precise = 1e-11 if dtype is torch.float64 else 1e-5
    for name, values in loop(model, batches).items():
        for tensors, expected in ((found.mean, values.mean(0)), (found.variance, 8 * values.var(0, ddof=1))):
            scale = abs(expected).max()  # single entries are differences of larger ones
            np.testing.assert_allclose(tensors[name].flatten(), expected, rtol=precise, atol=precise * scale)


def test_imputed_variances_are_those_of_examples():
    """Without batch norm the mean over partitions of k Var_b is the variance of single examples."""
    torch.manual_seed(0)
    model = build("mlp", {"widths": [6]}, (1, 4, 4), 3).double()
    inputs, targets = torch.randn(40, 1, 4, 4, dtype=torch.float64), torch.arange(40) % 3
    singles = loop(model, [(inputs[i : i + 1], targets[i : i + 1]) for i in range(40)])
    expected = np.hstack([values.var(0, ddof=1) for values in singles.values()])
    draws = []
    for _ in range(300):
        order = torch.randperm(40).split(4)
        found = impute_gsnr(model, [(inputs[rows], targets[rows]) for rows in order], LOSS)
        draws.append(torch.cat([values.flatten() for values in found.variance.values()]).numpy())
    error = np.std(draws, axis=0) / np.sqrt(300)
    live = expected > 0
    distance = abs(np.mean(draws, axis=0) - expected)[live] / error[live]
    assert distance.max() < 5  # of some hundred parameters, 300 partitions each
    assert distance.mean() < 1.2  # .8 for normal errors
