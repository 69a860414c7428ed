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
        self.lead, self.trail = lead, trail

    @property
    def row_length(self) -> int:
        return self.trail.shape[1]

    def columns(self, start: int, stop: int) -> Tensor:
        rows = self.lead[:, start // self.row_length : stop // self.row_length]
        return (rows.unsqueeze(2) * self.trail.unsqueeze(1)).flatten(1)

    def transposed(self) -> "Dense":
        return Dense(self.trail, self.lead)

    def squared_norms(self) -> Tensor:
        return squared_norms(self.lead) * squared_norms(self.trail)

    def norms_and_totals(self, parts: Sequence[slice]) -> tuple[Tensor, list[Tensor]]:
        totals = [torch.mm(self.lead[part].t(), self.trail[part]).view(self.shape) for part in parts]
        return self.squared_norms(), totals

    def sums(self) -> tuple[Tensor, Tensor]:
        # Divided where it is small: the mean costs no pass over the parameter.
        mean = torch.mm((self.lead / self.num_examples).t(), self.trail)
        squares = torch.mm(self.lead.square().t(), self.trail.square())
        return mean.view(-1), squares.view(-1)

    def entries(self, places: Tensor) -> Tensor:
        return self.lead[:, places // self.row_length] * self.trail[:, places % self.row_length]

    def signs(self) -> tuple[Tensor, Tensor]:
        # The sign of a product is that of both: counts of examples are products of masks.
        (up, down), (right, left) = (
            ((side > 0).to(self.dtype), (side < 0).to(self.dtype)) for side in (self.lead, self.trail)
        )
        positive = torch.mm(up.t(), right).addmm_(down.t(), left)
        negative = torch.mm(up.t(), left).addmm_(down.t(), right)
        return positive.long().view(self.shape), negative.long().view(self.shape)

    def dots(self, vector: Tensor) -> Tensor:
        matrix = vector.reshape(-1, self.row_length).to(self.dtype)
        return wide_sum(torch.mm(self.lead, matrix) * self.trail, dim=1)

    def gram(self) -> Tensor:
        lead, trail = self.lead, self.trail
        return widened(torch.mm(lead, lead.t())) * widened(torch.mm(trail, trail.t()))
