"""Gradients that are one outer product: of a dense layer that is applied once to each example.

g_i[o, k] = d_i[o] x_i[k] with y = W x and d = dL/dy. So ||g_i||^2 = ||d_i||^2 ||x_i||^2 (Goodfellow 2015,
arXiv 1510.01799), and the sum of squares over examples is (d^2)^T (x^2), as the sum is d^T x.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.gradients.engine.factors import Factored, squared_norms
from pipeline.gradients.wide import wide_sum, widened


class Dense(Factored):
    """g_i = lead_i trail_i^T, of a parameter `(o, k)`, or of one with the same entries in this order."""

    def __init__(self, lead: Tensor, trail: Tensor):
        """`lead (b, o)` and `trail (b, k)`."""
        super().__init__(len(lead), torch.Size((lead.shape[1], trail.shape[1])), lead)
        self._lead, self._trail = lead, trail

    @property
    def row_length(self) -> int:
        return self._trail.shape[1]

    def columns(self, start: int, stop: int) -> Tensor:
        rows = self._lead[:, start // self.row_length : stop // self.row_length]
        return (rows.unsqueeze(2) * self._trail.unsqueeze(1)).flatten(1)

    def transposed(self) -> "Dense":
        return Dense(self._trail, self._lead)

    def squared_norms(self) -> Tensor:
        return squared_norms(self._lead) * squared_norms(self._trail)

    def norms_and_totals(self, parts: Sequence[slice]) -> tuple[Tensor, list[Tensor]]:
        totals = [torch.mm(self._lead[part].t(), self._trail[part]).view(self.shape) for part in parts]
        return self.squared_norms(), totals

    def sums(self) -> tuple[Tensor, Tensor]:
        # Divided where it is small: the mean costs no pass over the parameter.
        mean = torch.mm((self._lead / self.num_examples).t(), self._trail)
        squares = torch.mm(self._lead.square().t(), self._trail.square())
        return mean.view(-1), squares.view(-1)

    def entries(self, places: Tensor) -> Tensor:
        return self._lead[:, places // self.row_length] * self._trail[:, places % self.row_length]

    def signs(self) -> tuple[Tensor, Tensor]:
        # The sign of a product is that of both: counts of examples are products of masks.
        (up, down), (right, left) = (
            ((side > 0).to(self.dtype), (side < 0).to(self.dtype)) for side in (self._lead, self._trail)
        )
        positive = torch.mm(up.t(), right).addmm_(down.t(), left)
        negative = torch.mm(up.t(), left).addmm_(down.t(), right)
        return positive.long().view(self.shape), negative.long().view(self.shape)

    def dots(self, vector: Tensor) -> Tensor:
        matrix = vector.reshape(-1, self.row_length).to(self.dtype)
        return wide_sum(torch.mm(self._lead, matrix) * self._trail, dim=1)

    def gram(self) -> Tensor:
        lead, trail = self._lead, self._trail
        return widened(torch.mm(lead, lead.t())) * widened(torch.mm(trail, trail.t()))
