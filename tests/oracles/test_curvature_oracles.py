"""Curvature against the whole Hessian, and the largest gradient against a loop, in float64."""

import pytest
import torch
from torch import nn

from pipeline.gradients import GradientError, NotFiniteError, hessian_norm, largest_gradient
from tests.oracles.gradient_rows import LOSS, NETWORKS, flat, images, loop

COUNT = 14


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))


def vectors(count: int = COUNT) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, 3, generator=generator, dtype=torch.float64), torch.arange(count) % 3


def whole_hessian(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, loss) -> torch.Tensor:
    """Of the mean loss, `(p, p)`, a row after the other."""
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss(model(inputs), targets).mean(), parameters, create_graph=True)
    gradient = torch.cat([value.flatten() for value in gradients])
    rows = [
        torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
        for value in gradient
    ]
    return torch.stack([torch.cat([value.flatten() for value in row]) for row in rows])


@pytest.mark.parametrize("seed", range(4))
def test_the_norm_of_the_hessian(seed):
    torch.manual_seed(seed)
    model, (inputs, targets) = small().double(), vectors()
    batches = list(zip(inputs.split(5), targets.split(5), strict=True))  # uneven: a mean over examples
    truth = float(torch.linalg.eigvalsh(whole_hessian(model, inputs, targets, LOSS)).abs().max())
    # 31 parameters: after so many steps the span is all there is.
    found = hessian_norm(model, batches, LOSS, tolerance=0, most_steps=31)
    assert found.value == pytest.approx(truth, rel=1e-9)
    assert found.converged
    early = hessian_norm(model, batches, LOSS)
    assert early.steps < 20
    assert early.converged
    assert 0.98 * truth < early.value <= truth * (1 + 1e-12)  # from below, near its tolerance
    stopped = hessian_norm(model, batches, LOSS, most_steps=2)
    assert not stopped.converged
    assert stopped.value < early.value


def test_the_largest_eigenvalue_counts_whatever_its_sign():
    def saddle(output: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return output[:, 0].square() - 3 * output[:, 1].square()

    model = nn.Linear(1, 2, bias=False).double()
    ones = torch.ones(4, 1, dtype=torch.float64)
    found = hessian_norm(model, [(ones, ones)], saddle)
    assert found.value == pytest.approx(6, rel=1e-12)
    assert (found.steps, found.converged) == (2, True)  # as many as parameters
    assert float(torch.linalg.eigvalsh(whole_hessian(model, ones, ones, saddle)).max()) == pytest.approx(2)


def test_a_loss_without_curvature_has_none():
    def linear(output: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return output.sum(dim=1)

    model, (inputs, targets) = nn.Linear(3, 2).double(), vectors()
    found = hessian_norm(model, [(inputs, targets)], linear)
    assert (found.value, found.converged) == (0.0, True)


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_the_largest_gradient_is_that_of_a_loop(make):
    torch.manual_seed(3)
    model, (inputs, targets) = make().double(), images(COUNT)
    batches = list(zip(inputs.double().split(5), targets.split(5), strict=True))
    norms = flat(loop(model, inputs, targets)).norm(dim=1)
    assert largest_gradient(model, batches, LOSS) == pytest.approx(float(norms.max()), rel=1e-10)
    less = [batch for batch in batches if not torch.equal(batch[0], batches[int(norms.argmax()) // 5][0])]
    assert largest_gradient(model, less, LOSS) < float(norms.max())


def test_evaluation_mode_is_curved_by_its_running_statistics():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double()
    inputs, targets = vectors()
    model(inputs)  # statistics
    found = hessian_norm(model, [(inputs, targets)], LOSS, batch_norm="eval", tolerance=0, most_steps=40)
    assert model.training
    truth = torch.linalg.eigvalsh(whole_hessian(model.eval(), inputs, targets, LOSS)).abs().max()
    assert found.value == pytest.approx(float(truth), rel=1e-9)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(3, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.project(x[:, None, None]).chunk(3, dim=-1)
        return nn.functional.scaled_dot_product_attention(query, key, value)[:, 0, 0]


@pytest.mark.parametrize("measure", [hessian_norm, largest_gradient])
def test_what_is_refused(measure):
    inputs, targets = vectors()
    model = small().double()
    with pytest.raises(GradientError, match="batches is empty"):
        measure(model, [], LOSS)
    with pytest.raises(GradientError, match="batch norm"):
        measure(nn.Sequential(nn.BatchNorm1d(3), model).double(), [(inputs, targets)], LOSS)
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    with pytest.raises(NotFiniteError, match="not finite"):
        measure(model, [(inputs, targets)], LOSS)


def test_curvature_refuses_what_it_cannot_walk_or_differentiate_twice():
    inputs, targets = vectors()
    with pytest.raises(GradientError, match="batches is an iterator"):
        hessian_norm(small().double(), iter([(inputs, targets)]), LOSS)
    with pytest.raises(GradientError, match=r"no second derivative in PyTorch: .*not implemented"):
        hessian_norm(Attention(), [(inputs.float(), targets)], LOSS)
