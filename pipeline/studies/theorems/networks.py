"""Deep ReLU networks as lists of matrices, the bias a constant node: what the theory of LUCK is about.

A layer's matrix `(n + 1, n' + 1)` leads from its nodes, the constant last, to the next ones. The constant
leads to itself with weight 1 and nothing else does, so that biases stand in the last row. The last matrix
has no constant behind it: `(n + 1, c)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.streams import generator

VALUES = (-0.5, -0.25, 0.0, 0.25, 0.5)  # of a teacher's weights before its rows are normalised (Section 5.1)
DTYPE = torch.float64


@dataclass(frozen=True)
class Network:
    """Weights `(n + 1, n')` from each layer to the next, without the constant's own column."""

    weights: tuple[Tensor, ...]
    relu: bool = True

    @property
    def matrices(self) -> tuple[Tensor, ...]:
        """The weights with the constant's column, but for the last."""
        return (*map(with_constant, self.weights[:-1]), self.weights[-1])

    def forward(self, x: Tensor) -> "Pass":
        """Nodes and gates of every layer for inputs `(b, d)`."""
        nodes, gates, pre = [_and_one(x)], [torch.ones(len(x), x.shape[1] + 1, dtype=x.dtype)], []
        for weight in self.weights:
            pre.append(nodes[-1] @ weight)
            gate = (pre[-1] > 0).to(x.dtype) if self.relu else torch.ones_like(pre[-1])
            gates.append(_and_one(gate))
            nodes.append(_and_one(pre[-1] * gate))
        return Pass(tuple(nodes[:-1]), tuple(gates[:-1]), tuple(pre))


@dataclass(frozen=True)
class Pass:
    """What a network does with b examples. Layer 0 is the input; the constant is every layer's last node."""

    nodes: tuple[Tensor, ...]  # (b, n + 1), of layers 0 to the last hidden one
    gates: tuple[Tensor, ...]  # the same shapes: 1 where a node is active, for the constant always
    pre: tuple[Tensor, ...]  # (b, n), before the ReLU, of layers 1 to the output

    @property
    def output(self) -> Tensor:
        """`(b, c)`; the top layer has no ReLU."""
        return self.pre[-1]


def with_constant(weight: Tensor) -> Tensor:
    """`(n + 1, n') -> (n + 1, n' + 1)`: the column of the constant."""
    column = torch.zeros(len(weight), 1, dtype=weight.dtype)
    column[-1] = 1
    return torch.cat([weight, column], dim=1)


def draw_teacher(
    widths: Sequence[int], root: int, seed: int, *, bias: tuple[float, float] = (-0.5, 0.5), relu: bool = True
) -> Network:
    """The paper's random teacher: `widths` from the input to the output.

    A node's weights from `VALUES`, its bias uniform in `bias`, both divided by the norm of the weights;
    weights that are all zero, or another node's, are drawn again. (Its own bias for each theorem's need:
    lower ones overlap less.)
    """
    layers = []
    for layer, (before, after) in enumerate(pairwise(widths)):
        rng = generator(root, "theorems", "teacher", *map(int, widths), seed, layer)
        rows = _distinct_rows(rng, after, before)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        biases = rng.uniform(*bias, size=(after, 1))
        layers.append(torch.from_numpy((np.concatenate([rows, biases], axis=1) / norms).T.copy()))
    return Network(tuple(layers), relu)


def draw_student(
    widths: Sequence[int], root: int, seed: int, *, bias: bool = True, relu: bool = True
) -> Network:
    """A student as torch initialises linear layers: weights and biases uniform in ±1 / sqrt(n)."""
    layers = []
    for layer, (before, after) in enumerate(pairwise(widths)):
        rng = generator(root, "theorems", "student", *map(int, widths), seed, layer)
        weight = rng.uniform(-1, 1, size=(before + 1, after)) / np.sqrt(before)
        weight[-1] *= bias
        layers.append(torch.from_numpy(weight))
    return Network(tuple(layers), relu)


def draw_inputs(examples: int, width: int, root: int, *name: str | int) -> Tensor:
    """Standard normal examples, `(b, d)`."""
    return torch.from_numpy(generator(root, "theorems", *name).standard_normal((examples, width)))


def _distinct_rows(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    """Rows of VALUES, none zero and no two the same."""
    found: dict[bytes, NDArray[np.float64]] = {}
    while len(found) < rows:
        row = rng.choice(VALUES, size=columns)
        if row.any():
            found.setdefault(row.tobytes(), row)
    return np.stack(list(found.values()))


def _and_one(nodes: Tensor) -> Tensor:
    return torch.cat([nodes, torch.ones(len(nodes), 1, dtype=nodes.dtype)], dim=1)
