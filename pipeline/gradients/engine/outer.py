"""Gradients that are sums of outer products: of dense and convolutional weights.

For a layer that maps x to y at T positions (tokens, pixels), example i's gradient of its weight is
g_i[o, k] = sum_t d_i[o, t] x_i[k, t] with d = dL/dy. `Outer` keeps d and x, and answers

- squared norms by sum_tt' (x_t . x_t') (d_t . d_t'), Gram matrices of the positions, where T is small. Else
  gradients are written out for some examples at a time, reduced and overwritten;
- sums of squares by products of squares over pairs of positions where these are few, else written out.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pipeline.gradients.engine.factors import Factored, sizes_on, squared_norms
from pipeline.gradients.wide import wide_sum

PAIRED = 8  # positions up to which sums over pairs of them are cheaper than gradients written out
MOVE = 60  # multiplications in the time of one value read and written
TILE = (128, 512)  # rows and columns of a written-out gradient that stay in a core's second-level cache


class Outer(Factored):
    """g_i[h, o, k] = sum_t lead_i[h, o, t] trail_i[h, k, t], for groups h; `shape` flattens to (h, o, k)."""

    def __init__(self, lead: Tensor, trail: Tensor, shape: torch.Size):
        """`lead (b, h, o, t)`, of the parameter's first dimension; `trail (b, h, k, t)`."""
        super().__init__(len(lead), shape, lead)
        self.lead = lead
        self.sizes = sizes_on(lead.device)
        self._trail = trail
        self.groups, self.rows, self.positions = lead.shape[1:]

    @property
    def row_length(self) -> int:
        return self.numel // (self.groups * self.rows)

    def trail(self, examples: slice) -> Tensor:
        """The other side for some examples, `(b, h, k, t)`."""
        return self._trail[examples]

    def columns(self, start: int, stop: int) -> Tensor:
        return self._columns(self.trail(slice(None)), start, stop)

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, Tensor]]:
        trail = self.trail(slice(None))  # made once, and not for each block
        for start, stop in self.block_bounds(size):
            yield start, self._columns(trail, start, stop)

    def _columns(self, trail: Tensor, start: int, stop: int) -> Tensor:
        first, last = start // self.row_length, stop // self.row_length
        pieces = [self.lead.new_empty(self.num_examples, 0)]
        while first < last:  # one group after the other
            group, offset = divmod(first, self.rows)
            end = min(self.rows, offset + last - first)
            written = self.lead[:, group, offset:end] @ trail[:, group].transpose(1, 2)
            pieces.append(written.flatten(1))
            first += end - offset
        return pieces[1] if len(pieces) == 2 else torch.cat(pieces, dim=1)

    def transposed(self) -> "Outer | None":
        if self.groups > 1:
            return None
        return Outer(self.trail(slice(None)), self.lead, torch.Size((self.row_length, self.rows)))

    # Norms and totals

    def squared_norms(self) -> Tensor:
        if self._gram_is_cheaper():
            return self._norms_by_gram()
        return torch.cat([squared_norms(written.flatten(1)) for _, written in self._by_examples()])

    def totals(self, parts: Sequence[slice]) -> list[Tensor]:
        return [self._total(part) for part in parts]

    def norms_and_totals(self, parts: Sequence[slice]) -> tuple[Tensor, list[Tensor]]:
        if self._gram_is_cheaper():
            return self._norms_by_gram(), self.totals(parts)
        norms, totals = [], []
        for part in parts:
            total = self.lead.new_zeros(self.numel)
            for _, written in self._by_examples(part):
                norms.append(squared_norms(written.flatten(1)))
                total += written.flatten(1).sum(dim=0)
            totals.append(total.view(self.shape))
        return torch.cat(norms), totals

    def _total(self, part: slice) -> Tensor:
        """One product of matrices for each group: the positions of all examples make one long sum."""
        lead, trail = self.lead[part], self.trail(part)
        return torch.einsum("bhot,bhkt->hok", lead, trail).reshape(self.shape)

    def _gram_is_cheaper(self) -> bool:
        """By what each needs beyond the ordinary gradient, in multiplications for one example."""
        written = self.rows * self.row_length
        gram = self.positions**2 * (self.rows + self.row_length + MOVE)
        return gram < self._trail_cost() + written * (self.positions / 5 + MOVE)

    def _trail_cost(self) -> float:
        """What making the other side for one example costs, in multiplications."""
        return 0

    def _norms_by_gram(self) -> Tensor:
        norms = []
        step = max(1, self.sizes.written // (self.groups * self.positions**2))
        for start in range(0, self.num_examples, step):
            some = slice(start, start + step)
            lead = self.lead[some]
            products = (lead.transpose(2, 3) @ lead).mul_(self._trail_gram(some))
            norms.append(wide_sum(products, dim=(1, 2, 3)))
        return torch.cat(norms)

    def _trail_gram(self, examples: slice) -> Tensor:
        """x_t . x_t' of some examples, `(b, h, t, t)`."""
        trail = self.trail(examples)
        return trail.transpose(2, 3) @ trail

    def _by_examples(self, part: slice = slice(None)) -> Iterator[tuple[slice, Tensor]]:
        """The gradients written out, some examples at a time: `(b, h, o, k)`, overwritten by the next."""
        first, last, _ = part.indices(self.num_examples)
        largest = max(self.numel, self.groups * self.row_length * self.positions)
        step = max(1, self.sizes.written // largest)
        buffer = self.lead.new_empty(step, self.groups, self.rows, self.row_length)
        for start in range(first, last, step):
            some = slice(start, min(start + step, last))
            out = buffer[: some.stop - some.start]
            torch.matmul(self.lead[some], self.trail(some).transpose(2, 3), out=out)
            yield some, out

    # Sums of squares

    def sums(self) -> tuple[Tensor, Tensor]:
        total, squares = self.totals_and_squares()
        return total.div_(self.num_examples), squares

    def totals_and_squares(self) -> tuple[Tensor, Tensor]:
        """sum g_i and sum g_i^2, `(p,)`."""
        if self.positions == 0:  # a place of a kernel that never meets the image
            return tuple(self.lead.new_zeros(2, self.numel))
        if self.positions <= PAIRED:
            return self._total(slice(None)).flatten(), self._squares_by_pairs()
        if self.numel <= self.sizes.cached // 4:
            return self._sums_by_examples()
        return self._sums_by_tiles()

    def _squares_by_pairs(self) -> Tensor:
        """sum_i g_i^2 = sum_i sum_tt' d_t d_t' x_t x_t', pairs t < t' counted twice; `(p,)`."""
        lead = _pairs(self.lead, twice=True)
        trail = _pairs(self.trail(slice(None)), twice=False)
        if self.groups == 1:
            return torch.mm(lead[0].t(), trail[0]).flatten()
        return (lead.transpose(1, 2) @ trail).flatten()

    def _sums_by_examples(self) -> tuple[Tensor, Tensor]:
        """`totals_and_squares` from the gradients of several examples at once."""
        total, squares = self.lead.new_zeros(2, self.numel)
        for _, written in self._by_examples():
            flat = written.flatten(1)
            total += flat.sum(dim=0)
            squares += flat.square_().sum(dim=0)
        return total, squares

    def _sums_by_tiles(self) -> tuple[Tensor, Tensor]:
        """`totals_and_squares` a tile of one gradient after the other: each is written to the cache only."""
        total, squares = self.lead.new_zeros(2, self.groups, self.rows, self.row_length)
        tile_rows, tile_columns = TILE
        buffer = self.lead.new_empty(tile_rows * tile_columns)
        step = max(1, self.sizes.written // (self.groups * self.row_length * self.positions))
        for start in range(0, self.num_examples, step):
            some = slice(start, min(start + step, self.num_examples))
            lead, trail = self.lead[some], self.trail(some)
            for h in range(self.groups):
                for o in range(0, self.rows, tile_rows):
                    for k in range(0, self.row_length, tile_columns):
                        _add_tile(
                            lead[:, h, o : o + tile_rows],
                            trail[:, h, k : k + tile_columns],
                            total[h, o : o + tile_rows, k : k + tile_columns],
                            squares[h, o : o + tile_rows, k : k + tile_columns],
                            buffer,
                        )
        return total.flatten(), squares.flatten()

    def entries(self, places: Tensor) -> Tensor:
        trail = self.trail(slice(None))
        row = places // self.row_length
        group, o, k = row // self.rows, row % self.rows, places % self.row_length
        step = max(1, self.sizes.written // (self.num_examples * self.positions))
        pieces = [
            (self.lead[:, group[some], o[some]] * trail[:, group[some], k[some]]).sum(dim=2)
            for some in torch.arange(len(places), device=self.device).split(step)
        ]
        return torch.cat(pieces, dim=1)

    # Products with a vector

    def dots(self, vector: Tensor) -> Tensor:
        matrix = vector.reshape(self.groups, self.rows, self.row_length).to(self.dtype)
        # (h, features, b t): the positions of all examples beside each other, for one product a group.
        lead, trail = (side.movedim(0, 2).flatten(2) for side in (self.lead, self.trail(slice(None))))
        if self.rows <= self.row_length:
            products = (matrix @ trail).mul_(lead)
        else:
            products = (matrix.transpose(1, 2) @ lead).mul_(trail)
        by_position = wide_sum(products, dim=(0, 1))
        return by_position.view(self.num_examples, self.positions).sum(dim=1)


def _pairs(side: Tensor, *, twice: bool) -> Tensor:
    """Products of two positions, t <= t', from `(b, h, f, t)` to `(h, pairs b, f)`.

    Those of t < t' are doubled if `twice`.
    """
    positions = side.permute(3, 1, 0, 2)  # (t, h, b, f)
    products = []
    for t, first in enumerate(positions):
        products.append(first.square())
        others = positions[t + 1 :] * first
        products += (others * 2 if twice else others).unbind()
    return products[0] if len(products) == 1 else torch.cat(products, dim=1)


def _add_tile(lead: Tensor, trail: Tensor, total: Tensor, squares: Tensor, buffer: Tensor) -> None:
    """Add sum_i g_i and sum_i g_i^2 of one tile `(o, k)`, from `lead (b, o, t)` and `trail (b, k, t)`."""
    written = buffer[: total.numel()].view(total.shape)
    for one_lead, one_trail in zip(lead, trail.transpose(1, 2), strict=True):
        torch.mm(one_lead, one_trail, out=written)
        total.add_(written)
        squares.addcmul_(written, written)
