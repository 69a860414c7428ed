"""Theorem 1: the gradient at a hidden node, example by example, from teacher and student nodes of its layer.

g_j = f'_j (Σ_j* beta*_jj* f_j* - Σ_j' beta_jj' f_j'), with beta* recursive from beta* = 1 at the top. Loss
½‖f* - f‖², g the negative gradient before the ReLU. Exact for ReLU networks without batch norm.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.studies.theorems.networks import Network, draw_inputs, draw_student, draw_teacher
from pipeline.studies.theorems.tables import RecursionRow

EXAMPLES = 200
TEACHER = (20, 10, 15, 20, 25, 10)
STUDENT = (20, 30, 45, 60, 75, 10)


def rows(root: int) -> list[RecursionRow]:
    """The paper's small teacher and a student three times wider: with bias, without, and linear."""
    cases = {"relu-bias": (True, True), "relu": (False, True), "linear-bias": (True, False)}
    found = []
    for name, (bias, relu) in cases.items():
        limits = (-0.5, 0.5) if bias else (0.0, 0.0)
        teacher = draw_teacher(TEACHER, root, 0, bias=limits, relu=relu)
        student = draw_student(STUDENT, root, 0, bias=bias, relu=relu)
        x = draw_inputs(EXAMPLES, TEACHER[0], root, "recursion")
        pairs = zip(by_recursion(teacher, student, x), by_autograd(teacher, student, x), strict=True)
        for layer, (ours, exact) in enumerate(pairs, start=1):
            largest = float(exact.abs().max())
            deviation = float((ours - exact).abs().max()) / largest
            found.append(RecursionRow(name, layer, *exact.shape, largest, deviation))
    return found


def by_recursion(teacher: Network, student: Network, x: Tensor) -> list[Tensor]:
    """g of every hidden layer from below, `(b, n)` each, by equations 2 and 3."""
    seen, own = teacher.forward(x), student.forward(x)
    found = []
    for layer, beta_teacher, beta in zip(
        range(len(own.nodes) - 1, 0, -1),
        _from_the_top(student, own.gates, teacher, seen.gates),
        _from_the_top(student, own.gates, student, own.gates),
        strict=False,
    ):
        pull = torch.einsum("bjs,bs->bj", beta_teacher, seen.nodes[layer])
        push = torch.einsum("bjs,bs->bj", beta, own.nodes[layer])
        found.append((own.gates[layer] * (pull - push))[:, :-1])  # the constant receives nothing
    return found[::-1]


def by_autograd(teacher: Network, student: Network, x: Tensor) -> list[Tensor]:
    """The same by backpropagation through the student."""
    weights = tuple(weight.clone().requires_grad_() for weight in student.weights)
    own = Network(weights, student.relu).forward(x)
    loss = (teacher.forward(x).output - own.output).square().sum() / 2
    return [-gradient for gradient in torch.autograd.grad(loss, own.pre[:-1])]


def _from_the_top(
    student: Network, gates: tuple[Tensor, ...], other: Network, other_gates: tuple[Tensor, ...]
) -> Iterator[Tensor]:
    """beta of every example for hidden layers from the last down, `(b, n + 1, s + 1)`."""
    top_student, top_other = student.matrices[-1], other.matrices[-1]
    beta = (top_student @ top_other.T).expand(len(gates[0]), -1, -1)
    yield beta
    for layer in range(len(gates) - 1, 1, -1):
        left, right = student.matrices[layer - 1], other.matrices[layer - 1]
        modulated = gates[layer][:, :, None] * beta * other_gates[layer][:, None, :]
        beta = left @ modulated @ right.T
        yield beta
