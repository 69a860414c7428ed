"""Gradients of a table of which each example touches a few rows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.gradients.engine.factors import Factor, squared_norms
from pipeline.gradients.wide import widened


class SparseRows(Factor):
    """g_i[v] = sum of the d_it with index_it = v; the table has shape (v, p)."""

    def __init__(self, indices: Tensor, gradient: Tensor, shape: torch.Size):
        """`indices (b, t)` into the table, and `gradient (b, t, p)` of what was looked up."""
        super().__init__(len(indices), shape, gradient)
        examples = torch.arange(len(indices), device=indices.device).unsqueeze(1).expand_as(indices)
        # Looked up twice by one example, a row has one gradient, the sum.
        places, where = torch.unique((examples * shape[0] + indices).flatten(), return_inverse=True)
        self._values = gradient.new_zeros(len(places), shape[1])
        self._values.index_add_(0, where, gradient.reshape(-1, shape[1]))
        self._examples, self._rows = places // shape[0], places % shape[0]

    @property
    def row_length(self) -> int:
        return self.shape[1]

    def columns(self, start: int, stop: int) -> Tensor:
        first, last = start // self.row_length, stop // self.row_length
        here = (self._rows >= first) & (self._rows < last)
        dense = self._values.new_zeros(self.num_examples, last - first, self.row_length)
        dense[self._examples[here], self._rows[here] - first] = self._values[here]
        return dense.flatten(1)

    def squared_norms(self) -> Tensor:
        return self._by_example(squared_norms(self._values))

    def norms_and_totals(self, parts: Sequence[slice]) -> tuple[Tensor, list[Tensor]]:
        totals = []
        for part in parts:
            first, last, _ = part.indices(self.num_examples)
            here = (self._examples >= first) & (self._examples < last)
            totals.append(
                self._values.new_zeros(self.shape).index_add_(0, self._rows[here], self._values[here])
            )
        return self.squared_norms(), totals

    def dots(self, vector: Tensor) -> Tensor:
        return self._by_example(widened(torch.linalg.vecdot(self._values, vector.to(self.dtype)[self._rows])))

    def _by_example(self, values: Tensor) -> Tensor:
        """Add up a float64 value of each looked-up row, `(b,)`."""
        sums = self._wide_zeros(self.num_examples)
        return sums.index_add_(0, self._examples.to(sums.device), values)
