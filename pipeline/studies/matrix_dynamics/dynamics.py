"""The matrix dynamics of Theorem 2 for one hidden layer, many students at once.

Index letters: k students, b examples, i inputs (with the constant), n student nodes, m teacher nodes, o
outputs. Expectations are means over the batch; each factor of an expectation is its own (Assumption 1), so
that this is not the gradient of the student: where gates vary with the input, the two differ.
"""

import torch
from torch import Tensor


def step(
    x: Tensor, teacher_w: Tensor, teacher_v: Tensor, w: Tensor, v: Tensor, lr: float
) -> tuple[Tensor, Tensor]:
    """One step from `w (k, i, n)`, `v (k, n, o)` on examples `x (k, b, i)`; columns have length 1 after.

    Theorem 2 with L = E[f f^T], D = E[f' f'^T], beta = V V^T and H = beta o D (a star: with the teacher's m
    nodes): dW = L W* H*^T - L W H^T, dV = L*_2 V* - L_2 V.
    """
    change_w, change_v = changes(x, teacher_w, teacher_v, w, v)
    return unit_columns(w + lr * change_w), unit_columns(v + lr * change_v)


def changes(x: Tensor, teacher_w: Tensor, teacher_v: Tensor, w: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """`dW (k, i, n)` and `dV (k, n, o)` of Theorem 2."""
    examples = x.shape[1]
    before, before_teacher = x @ w, x @ teacher_w  # (k, b, n), (k, b, m)
    nodes, nodes_teacher = before.relu(), before_teacher.relu()
    gates, gates_teacher = (before > 0).to(x.dtype), (before_teacher > 0).to(x.dtype)
    # L*_2 V* - L_2 V = E[f (f* V* - f V)]: the cheaper order of the same products.
    change_v = nodes.mT @ (nodes_teacher @ teacher_v - nodes @ v) / examples
    h_teacher = (teacher_v @ v.mT) * (gates_teacher.mT @ gates) / examples  # H*^T, (k, m, n)
    h = (v @ v.mT) * (gates.mT @ gates) / examples  # (k, n, n), symmetric
    difference = teacher_w @ h_teacher - w @ h
    return x.mT @ (x @ difference) / examples, change_v


def unit_columns(matrix: Tensor) -> Tensor:
    """`(..., rows, columns)` with columns of length 1."""
    return matrix / torch.linalg.vector_norm(matrix, dim=-2, keepdim=True)
