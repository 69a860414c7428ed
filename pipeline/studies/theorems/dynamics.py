"""Theorem 2: the update of a layer as the matrix dynamics have it, beside the gradient of the whole sample.

dW_l = L*_l W*_l H*_{l+1}^T - L_l W_l H_{l+1}^T with L* = E[f f*^T], D* = E[f' f'*^T], H* = beta* o D*,
beta*_l = W_l H*_{l+1} W*_l^T, and the same without a star; H = 1 at the top. It takes expectations of
products apart (Assumption 1): exact where gates do not vary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.studies.theorems.networks import Network, Pass, draw_inputs, draw_student, draw_teacher
from pipeline.studies.theorems.tables import DynamicsRow

EXAMPLES = 2000
SEEDS = 3
TEACHER = (20, 10, 15, 20, 25, 10)
STUDENT = (20, 20, 30, 40, 50, 10)
ALWAYS_ON = 50.0  # a bias of every hidden node, which no input of the sample outweighs


@dataclass(frozen=True)
class Modulation:
    """What comes down to one hidden layer: from teacher nodes (star) and from the student's own."""

    beta_teacher: Tensor  # (n + 1, m + 1)
    beta: Tensor  # (n + 1, n + 1)
    h_teacher: Tensor
    h: Tensor


def rows(root: int) -> list[DynamicsRow]:
    """Linear networks, ReLU networks, and ReLU networks whose every gate is open."""
    found = []
    for seed in range(SEEDS):
        x = draw_inputs(EXAMPLES, TEACHER[0], root, "dynamics", seed)
        for name, relu in (("linear", False), ("relu", True), ("relu-open", True)):
            teacher = draw_teacher(TEACHER, root, seed, relu=relu)
            student = draw_student(STUDENT, root, seed, relu=relu)
            if name == "relu-open":
                teacher, student = _opened(teacher), _opened(student)
            found += _compared(name, seed, teacher, student, x)
    return found


def by_theorem(teacher: Network, student: Network, x: Tensor) -> list[Tensor]:
    """dW of every layer from the input up, `(n + 1, n')` each, by equation 6."""
    seen, own = teacher.forward(x), student.forward(x)
    signals = modulation(teacher, student, seen, own)
    found = []
    for layer, (weight, weight_teacher) in enumerate(zip(student.matrices, teacher.matrices, strict=True)):
        inputs, inputs_teacher = own.nodes[layer], seen.nodes[layer]
        l_teacher, l_own = inputs.T @ inputs_teacher / len(x), inputs.T @ inputs / len(x)
        if layer == len(signals):
            found.append(l_teacher @ weight_teacher - l_own @ weight)
            continue
        above = signals[layer]
        change = l_teacher @ weight_teacher @ above.h_teacher.T - l_own @ weight @ above.h.T
        found.append(change[:, :-1])  # the constant's own column stays
    return found


def by_autograd(teacher: Network, student: Network, x: Tensor) -> list[Tensor]:
    """The negative gradient of E[½‖f* - f‖²] in every layer's weights."""
    weights = tuple(weight.clone().requires_grad_() for weight in student.weights)
    output = Network(weights, student.relu).forward(x).output
    loss = (teacher.forward(x).output - output).square().sum() / (2 * len(x))
    return [-gradient for gradient in torch.autograd.grad(loss, weights)]


def modulation(teacher: Network, student: Network, seen: Pass, own: Pass) -> list[Modulation]:
    """beta and H of every hidden layer, from the first to the last."""
    outputs = torch.eye(student.weights[-1].shape[1], dtype=own.output.dtype)
    h_teacher, h = outputs, outputs
    found = []
    for layer in range(len(own.nodes) - 1, 0, -1):
        left, right = student.matrices[layer], teacher.matrices[layer]
        beta_teacher, beta = left @ h_teacher @ right.T, left @ h @ left.T
        h_teacher = beta_teacher * (own.gates[layer].T @ seen.gates[layer]) / len(own.output)
        h = beta * (own.gates[layer].T @ own.gates[layer]) / len(own.output)
        found.append(Modulation(beta_teacher, beta, h_teacher, h))
    return found[::-1]


def _compared(name: str, seed: int, teacher: Network, student: Network, x: Tensor) -> list[DynamicsRow]:
    pairs = zip(by_theorem(teacher, student, x), by_autograd(teacher, student, x), strict=True)
    found = []
    for layer, (ours, exact) in enumerate(pairs):
        gap = float((ours - exact).norm() / exact.norm())
        cosine = float((ours * exact).sum() / (ours.norm() * exact.norm()))
        found.append(DynamicsRow(name, layer, layer == len(student.weights) - 1, seed, gap, cosine))
    return found


def _opened(network: Network) -> Network:
    """With biases that keep every hidden node active."""
    return Network(tuple(_raised(weight) for weight in network.weights[:-1]) + network.weights[-1:])


def _raised(weight: Tensor) -> Tensor:
    """Nodes above an open layer are large as well: the bias has to outweigh them too."""
    raised = weight.abs()
    raised[-1] += ALWAYS_ON
    return raised
