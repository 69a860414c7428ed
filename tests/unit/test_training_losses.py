"""The losses that a run can be trained with, against their definitions in float64."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.training.losses import loss_of
from tests.memory import a_run

LOGITS = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 3
LABELS = torch.arange(50) % 4


def probabilities():
    exponentials = np.exp(LOGITS.double().numpy())
    return (exponentials / exponentials.sum(1, keepdims=True))[np.arange(50), LABELS]


@pytest.mark.parametrize("q", [0.01, 0.3, 0.7, 1.0])
def test_generalized_cross_entropy_is_its_formula(q):
    loss = loss_of(a_run(loss="generalized_cross_entropy", loss_q=q))
    expected = (1 - probabilities() ** q) / q
    found = loss(LOGITS, LABELS, reduction="none")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # float32
    assert float(loss(LOGITS, LABELS)) == pytest.approx(expected.mean(), rel=1e-5)


def test_an_example_that_the_network_doubts_moves_it_less():
    """The gradient is p^q times that of cross-entropy; at the same p^q everywhere it would not be robust."""
    logits = LOGITS.double().requires_grad_()
    loss = loss_of(a_run(loss="generalized_cross_entropy", loss_q=0.7))(logits, LABELS, reduction="none")
    (robust,) = torch.autograd.grad(loss.sum(), logits, retain_graph=True)
    (plain,) = torch.autograd.grad(functional.cross_entropy(logits, LABELS, reduction="sum"), logits)
    shares = robust.norm(dim=1) / plain.norm(dim=1)
    np.testing.assert_allclose(shares, probabilities() ** 0.7, rtol=1e-10)
    assert shares.max() > 100 * shares.min()


def test_cross_entropy_is_the_default():
    assert loss_of(a_run()) is functional.cross_entropy
