"""Theorem 3: the length of a filter before batch norm stays while the network is trained by gradient flow.

Scaling a filter (with its bias, where a ReLU stands between) scales what batch norm divides out, so that the
gradient is orthogonal to it. Two things leak: eps, which batch norm adds to the variance, and finite steps,
each of which adds eta² ‖gradient‖².
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.studies.theorems.networks import DTYPE, draw_inputs, draw_student
from pipeline.studies.theorems.tables import ConservationRow

EXAMPLES, INPUTS, FILTERS, OUTPUTS = 128, 8, 12, 5
LEARNING_RATE, TIME = 0.1, 2.0  # TIME: learning rate times steps
EPS = (0.0, 1.0e-5, 1.0e-2)  # torch's default is 1e-5


@dataclass(frozen=True)
class Case:
    """One layer of filters with its order of operations; `with_bias`: b² counts as part of the length."""

    order: str  # bn-relu | relu-bn | none
    bias: bool
    with_bias: bool = False


CASES = (
    Case("bn-relu", bias=False),
    Case("bn-relu", bias=True),
    Case("relu-bn", bias=False),
    Case("relu-bn", bias=True, with_bias=True),
    Case("relu-bn", bias=True),  # here ‖w‖² alone is not conserved
    Case("none", bias=True, with_bias=True),
)


@dataclass(frozen=True)
class Layer:
    """Weights of the filters, of a linear layer above, and the sample that both are trained on."""

    filters: Tensor  # (d + 1, n), the bias in the last row
    top: Tensor  # (n, c)
    inputs: Tensor  # (b, d + 1), the last column 1, or 0 without a bias
    targets: Tensor  # (b, c)


def rows(root: int) -> list[ConservationRow]:
    """Every case without eps, and those with batch norm with it."""
    return [_row(root, case, eps) for case in CASES for eps in EPS if eps == 0 or case.order != "none"]


def loss_of(layer: Layer, case: Case, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """½ mean squared error; what batch norm made, `(b, n)`; and the variance that it saw, `(n,)`."""
    before = layer.inputs @ layer.filters
    if case.order == "none":
        nodes, variance = before.relu(), torch.ones(before.shape[1], dtype=DTYPE)
        normed = nodes
    elif case.order == "bn-relu":
        normed, variance = normalised(before, eps)
        nodes = normed.relu()
    else:
        normed, variance = normalised(before.relu(), eps)
        nodes = normed
    loss = (nodes @ layer.top - layer.targets).square().sum(dim=1).mean() / 2
    return loss, normed, variance


def normalised(values: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Batch norm without affine parameters, `(b, n)`, and the variance of each column, `(n,)`.

    Written out, for torch's refuses an eps of 0.
    """
    centred = values - values.mean(dim=0)
    variance = centred.square().mean(dim=0)
    return centred / (variance + eps).sqrt(), variance


def _row(root: int, case: Case, eps: float) -> ConservationRow:
    layer = _layer(root, case)
    slopes, leaks = _slopes(layer, case, eps)
    growths = [_growth(layer, case, eps, LEARNING_RATE / parts) for parts in (1, 2, 4)]
    return ConservationRow(
        case.order,
        case.bias,
        case.with_bias,
        eps,
        _greatest(slopes),
        _greatest(leaks),
        _greatest(slopes - leaks),
        _step_deviation(layer, case, eps),
        *growths,
    )


def _layer(root: int, case: Case) -> Layer:
    weights = draw_student((INPUTS, FILTERS, OUTPUTS), root, 0, bias=case.bias).weights
    x = draw_inputs(EXAMPLES, INPUTS, root, "conservation", "inputs")
    ones = torch.full((EXAMPLES, 1), float(case.bias), dtype=DTYPE)
    targets = draw_inputs(EXAMPLES, OUTPUTS, root, "conservation", "targets")
    return Layer(weights[0], weights[1][:-1], torch.cat([x, ones], dim=1), targets)


def _gradient(layer: Layer, case: Case, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """In the filters; in what batch norm made; that, and the variance. Nothing of them needs a graph."""
    filters = layer.filters.clone().requires_grad_()
    loss, normed, variance = loss_of(Layer(filters, layer.top, layer.inputs, layer.targets), case, eps)
    of_filters, of_normed = torch.autograd.grad(loss, [filters, normed])
    return of_filters, of_normed, normed.detach(), variance.detach()


def _length(filters: Tensor, case: Case) -> Tensor:
    """What is conserved: `(d + 1, n) -> (rows that count, n)`."""
    return filters if case.with_bias else filters[:-1]


def _slopes(layer: Layer, case: Case, eps: float) -> tuple[Tensor, Tensor]:
    """Cosine of each filter and its gradient, and the same as the leak of eps has it, `(n,)` each.

    Scaling a filter by 1 + s changes what batch norm made, y, by s y eps / (variance + eps).
    """
    gradient, of_normed, normed, variance = _gradient(layer, case, eps)
    kept, changed = _length(layer.filters, case), _length(gradient, case)
    lengths = kept.norm(dim=0) * changed.norm(dim=0)
    share = eps / (variance + eps) if case.order != "none" else torch.zeros_like(variance)
    return (kept * changed).sum(dim=0) / lengths, (of_normed * normed).sum(dim=0) * share / lengths


def _step_deviation(layer: Layer, case: Case, eps: float) -> float:
    gradient = _length(_gradient(layer, case, eps)[0], case)
    kept = _length(layer.filters, case)
    after = (kept - LEARNING_RATE * gradient).square().sum()
    added = (LEARNING_RATE * gradient).square().sum()
    return float((after - kept.square().sum() - added).abs() / added)


def _growth(layer: Layer, case: Case, eps: float, lr: float) -> float:
    """Of the sum of the filters' squared lengths over TIME, relative; the layer above stays as it is."""
    filters = layer.filters
    for _ in range(round(TIME / lr)):
        gradient = _gradient(Layer(filters, layer.top, layer.inputs, layer.targets), case, eps)[0]
        filters = filters - lr * gradient
    first, last = (_length(each, case).square().sum() for each in (layer.filters, filters))
    return float(last / first - 1)


def _greatest(values: Tensor) -> float:
    return float(values.abs().max())
