"""Both sides of eq. 19 at one moment of training: the one-step ratio, and what GSNR says it is.

Left, by definition (eq. 23): the fall of the test loss in one step over that of the training loss, summed
over the training sets before they are divided. Beside it the same for a step of no length, g_D . g_D' over
||g_D||^2. Right (eq. 19, 24): 1 - sum_j rho_j^2 / (n sum_j g_Dj^2), again of sums over the sets: one set
alone is biased low. Of the variances rho_j^2 (ddof 1) the sum over j is enough, so norms of gradients are.

Losses, whose change in a step is tiny, and all sums are in float64; gradients are in the type of the data.

With batch norm the test loss is under the moments of the training set, which move with the weights, and the
variance is imputed from batches of k examples: k times that of their gradients.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.studies.osgr.descent import (
    Gradient,
    Room,
    at,
    mean_gradient,
    mean_losses,
    pieces,
    step,
    tracked,
)
from pipeline.studies.osgr.draws import Data
from pipeline.studies.osgr.layers import Moments, Pass, Weights
from pipeline.studies.osgr.networks import Network


@dataclass(frozen=True)
class Sides:
    """What is measured of all sets together; losses and squares are means over the sets."""

    lhs: float  # one-step generalisation ratio by definition
    linearised: float  # the same for a learning rate of 0
    rhs: float  # from GSNR
    train_loss: float
    test_loss: float
    squared_gradient: float  # ||g_D||^2
    variance: float  # sum_j rho_j^2, of one example's gradient


@dataclass(frozen=True)
class _Slopes:
    """Of some of the sets, in float64: gradients of both losses, and the variance of one example's."""

    train: Gradient
    test: Gradient
    variance: Tensor  # (s,)


def measure(network: Network, weights: Weights, data: Data, lr: float, batches: int) -> Sides:
    """Both sides at `weights`, `(sets, ...)` each, before a step with rate `lr`.

    `batches`: into how many a training set is parted to impute the variance of a network with batch norm.
    """
    sums = torch.zeros(7, dtype=torch.float64)
    room = Room.of(network, *data.targets.shape, data.inputs.new_empty(0, dtype=torch.float64))
    for sets in pieces(len(data.targets), room.sets):
        block = replace(data, inputs=data.inputs[sets], targets=data.targets[sets])
        here = at(weights, sets)
        slopes = (_coupled if network.couples else _apart)(network, here, block, room, batches)
        here = {name: values.double() for name, values in here.items()}
        before = _losses(network, here, block, room)
        after = _losses(network, step(here, slopes.train, lr), block, room)
        sums += _sums(slopes, before, after).cpu()
    return _sides(sums, *data.targets.shape)


def _sums(slopes: _Slopes, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Tensor:
    parts = (
        after[1] - before[1],
        after[0] - before[0],
        dot(slopes.train, slopes.test),
        dot(slopes.train, slopes.train),
        slopes.variance,
        *before,
    )
    return torch.stack([part.sum() for part in parts])


def _sides(sums: Tensor, sets: int, examples: int) -> Sides:
    test_fall, train_fall, across, square, variance, train, test = sums.unbind()
    return Sides(
        lhs=float(test_fall / train_fall),
        linearised=float(across / square),
        rhs=float(1 - variance / (examples * square)),
        train_loss=float(train / sets),
        test_loss=float(test / sets),
        squared_gradient=float(square / sets),
        variance=float(variance / sets),
    )


def dot(a: Gradient, b: Gradient) -> Tensor:
    """The scalar product for each network `(g,)`."""
    return torch.stack([(a[name] * b[name]).flatten(1).sum(1) for name in a]).sum(0)


def _apart(network: Network, weights: Weights, data: Data, room: Room, batches: int) -> _Slopes:
    """Examples of their own: gradients add up, and the norm of each is there for the variance."""
    examples, leaves = data.targets.shape[1], tracked(weights)
    squares = _zeros(data)
    totals = _zeros_like(leaves.values())
    for part in pieces(examples, room.examples):
        forward = Pass(keep_taps=True)
        outputs = network.forward(leaves, data.inputs[:, part], forward)
        loss = network.losses(outputs, data.targets[:, part]).sum()
        kept = [tap.outputs for tap in forward.taps]
        found = torch.autograd.grad(loss, [*leaves.values(), *kept])
        _add(totals, found)
        with torch.no_grad():
            for tap, of_outputs in zip(forward.taps, found[len(leaves) :], strict=True):
                squares += tap.layer.squared_norms(tap.inputs, of_outputs).double().sum(1)
    gradient = _means(leaves, totals, examples)
    variance = (squares - examples * dot(gradient, gradient)) / (examples - 1)
    return _Slopes(gradient, _test_gradient(network, leaves, data, room), variance)


def _coupled(network: Network, weights: Weights, data: Data, room: Room, batches: int) -> _Slopes:
    """Batch norm: a set is one pass, and the test loss goes back through its moments as well."""
    leaves, forward = tracked(weights), Pass()
    losses = network.losses(network.forward(leaves, data.inputs, forward), data.targets).mean(1)
    found = torch.autograd.grad(losses.sum(), list(leaves.values()), retain_graph=True)
    gradient = {name: values.double() for name, values in zip(leaves, found, strict=True)}
    test = _test_gradient(network, leaves, data, room, forward.used)
    return _Slopes(gradient, test, imputed_variance(network, weights, data.inputs, data.targets, batches))


def _test_gradient(
    network: Network, leaves: Weights, data: Data, room: Room, moments: Sequence[Moments] = ()
) -> Gradient:
    """The gradient of the test loss of every network; `moments` hang on the leaves."""
    flat = [value for pair in moments for value in pair]
    given = [value.detach().requires_grad_() for value in flat]
    pairs = list(zip(given[::2], given[1::2], strict=True)) or None
    wanted = [*leaves.values(), *given]
    totals = _zeros_like(wanted)
    for inputs, targets in _test_parts(data, room):
        losses = network.losses(network.forward(leaves, inputs, Pass(given=pairs)), targets)
        _add(totals, torch.autograd.grad(losses.sum(), wanted))
    if moments:
        onto = [total.to(value) for total, value in zip(totals[len(leaves) :], flat, strict=True)]
        # The last layers stand after all moments, and get none of this.
        _add(totals, torch.autograd.grad(flat, list(leaves.values()), onto, materialize_grads=True))
    return _means(leaves, totals, len(data.test_targets))


def _test_parts(data: Data, room: Room) -> list[tuple[Tensor, Tensor]]:
    """The test set in parts, the same for every network: `(s, b, ...)` views."""
    groups = len(data.targets)
    return [
        (
            data.test_inputs[part][None].expand(groups, *[-1] * data.test_inputs.dim()),
            data.test_targets[part][None].expand(groups, -1),
        )
        for part in pieces(len(data.test_targets), room.examples)
    ]


def _losses(network: Network, weights: Weights, data: Data, room: Room) -> tuple[Tensor, Tensor]:
    """Train and test loss `(s,)` each; the weights are float64."""
    examples, moments = data.targets.shape[1], None
    train, test = _zeros(data), _zeros(data)
    for part in pieces(examples, room.examples):
        targets = data.targets[:, part]
        losses, moments = mean_losses(network, weights, data.inputs[:, part].double(), targets)
        train += losses * targets.shape[1] / examples
    for inputs, targets in _test_parts(data, room):
        losses, _ = mean_losses(network, weights, inputs.double(), targets, moments or None)
        test += losses * targets.shape[1] / len(data.test_targets)
    return train, test


def imputed_variance(
    network: Network, weights: Weights, inputs: Tensor, targets: Tensor, batches: int
) -> Tensor:
    """sum_j rho_j^2 of every network `(s,)` from the gradients of so many batches of its set.

    A batch of k examples is normalised by its own moments; the mean gradient of k has 1/k of the variance of
    one. A set is in random order, so its batches are a random partition; what is left over is left out.
    """
    size = targets.shape[1] // batches
    parted_inputs, parted_targets = (
        values[:, : size * batches].unflatten(1, (batches, size)).flatten(0, 1)
        for values in (inputs, targets)
    )
    repeated = {name: values.repeat_interleave(batches, 0) for name, values in weights.items()}
    found = mean_gradient(network, repeated, parted_inputs, parted_targets)
    variance = torch.zeros(len(targets), dtype=torch.float64, device=targets.device)
    for gradients in found.values():
        by_set = gradients.double().unflatten(0, (-1, batches)).flatten(2)
        variance += (by_set - by_set.mean(1, keepdim=True)).square().sum((1, 2))
    return size * variance / (batches - 1)


def _zeros(data: Data) -> Tensor:
    """A sum for every set."""
    return torch.zeros(len(data.targets), dtype=torch.float64, device=data.targets.device)


def _zeros_like(values: Iterable[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(value, dtype=torch.float64) for value in values]


def _add(totals: list[Tensor], found: Sequence[Tensor]) -> None:
    """Add to as many of the first as the shorter of them has."""
    for total, more in zip(totals, found, strict=False):
        total += more


def _means(weights: Weights, totals: list[Tensor], examples: int) -> Gradient:
    return {name: total / examples for name, total in zip(weights, totals, strict=False)}
