"""The data sets and the networks of the toy examples: CG's Examples 1, 7 and 8.

Every network is linear in its inputs, y = c(w) . x with six coefficients c, one for each feature; so all that
it is are its coefficients and their derivatives. The first five features are idiosyncratic, the last common.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

NUM_TRAIN = 4  # of five examples; the last is held out

_FEATURES = [
    [1, 0, 0, 0, 0, 1],
    [0, -1, 0, 0, 0, -1],
    [0, 0, -1, 0, 0, -1],
    [0, 0, 0, 1, 0, 1],
    [0, 0, 0, 0, -1, -1],
]


@dataclass(frozen=True, eq=False)
class Data:
    """Five examples, `inputs (5, 6)` and `targets (5,)`, float64: four to train on, one to test."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Network:
    """A network by its coefficients c(w).

    `weights` names its p weights in their order. `linearise` takes weights `(..., p)` to the coefficients
    `(..., 6)` and their Jacobian `(..., 6, p)`; leading dimensions are networks side by side.
    """

    weights: tuple[str, ...]
    linearise: Callable[[Tensor], tuple[Tensor, Tensor]]


def real_data() -> Data:
    """L of Example 1: the last feature tells the label of every example."""
    inputs = torch.tensor(_FEATURES, dtype=torch.float64)
    return Data(inputs, inputs[:, -1].clone())


def random_data() -> Data:
    """M of Example 1: as L with the last feature blotted out, so that there is nothing but to memorise."""
    data = real_data()
    data.inputs[:, -1] = 0
    return data


def _linear(weights: Tensor) -> tuple[Tensor, Tensor]:
    """c_j = w_j."""
    return weights, torch.eye(6, dtype=weights.dtype).expand(*weights.shape, 6)


def _deep(weights: Tensor) -> tuple[Tensor, Tensor]:
    """c_j = u_j w_j."""
    u, w = weights.split([6, 6], dim=-1)
    return u * w, torch.cat([torch.diag_embed(w), torch.diag_embed(u)], dim=-1)


def _two_neurons(weights: Tensor) -> tuple[Tensor, Tensor]:
    """c_j = w1 u_j + w2 v_j, where the bad neuron u does not see the common feature: no u6."""
    u, v, w1, w2 = weights.split([5, 6, 1, 1], dim=-1)
    u = pad(u, (0, 1))
    each = torch.eye(6, dtype=weights.dtype)
    jacobian = [w1[..., None] * each[:, :5], w2[..., None] * each, u[..., None], v[..., None]]
    return w1 * u + w2 * v, torch.cat(jacobian, dim=-1)


def _names(letter: str, number: int) -> tuple[str, ...]:
    return tuple(f"{letter}{position}" for position in range(1, number + 1))


LINEAR = Network(_names("w", 6), _linear)  # Example 1
DEEP = Network((*_names("u", 6), *_names("w", 6)), _deep)  # Example 7
TWO_NEURONS = Network((*_names("u", 5), *_names("v", 6), "w1", "w2"), _two_neurons)  # Example 8
