"""Float64 arithmetic on long vectors of another type, block by block.

A block that was widened stays in the cache; a whole vector would be written to memory and read again.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

BLOCK = 2**16  # values; half a MiB of float64


def float64_home(device: torch.device) -> torch.device:
    """Where float64 sums of tensors on `device` are kept: there, or on the CPU where it has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def widened(values: Tensor) -> Tensor:
    """The values in float64, where their device has it."""
    return values.cpu().double() if values.device.type == "mps" else values.double()


def wide_sum(values: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Sum over dimensions, added up in float64."""
    return values.to(float64_home(values.device)).sum(dim=dim, dtype=torch.float64)


def squared_norm(vector: Tensor) -> Tensor:
    """`||vector||²` of `(p,)`, as a float64 scalar on its device."""
    parts = []
    for start, stop in blocks(vector):
        wide = vector[start:stop].double()
        parts.append(wide.dot(wide))
    return torch.stack(parts).sum() if parts else vector.new_zeros((), dtype=torch.float64)


def dot_products(wide: Tensor, vectors: Sequence[Tensor]) -> Tensor:
    """Products `(n,)` of the float64 vector `wide (p,)` with n vectors `(p,)` of any type."""
    products = wide.new_zeros(len(vectors))
    for start, stop in blocks(wide):
        block = wide[start:stop]  # stays in the cache for all n
        products += torch.stack([block.dot(vector[start:stop].double()) for vector in vectors])
    return products


def added(kept: Tensor, more: Tensor) -> Tensor:
    """`kept + more` in float64: in place if `kept` is float64 already."""
    if kept.dtype != torch.float64:
        kept = kept.to(float64_home(kept.device), torch.float64)
    for start, stop in blocks(kept):
        kept[start:stop] += more[start:stop].to(kept.device)
    return kept


def norms_of_sums(vectors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """`||S||²`, and `||S - v||²` for each vector `v (p,)`, where S is the sum of all; float64, on the CPU."""
    total, without = torch.zeros((), dtype=torch.float64), torch.zeros(len(vectors), dtype=torch.float64)
    for start, stop in blocks(vectors[0]):
        block = torch.stack([vector[start:stop].double() for vector in vectors])
        whole = block.sum(dim=0)
        total += whole.dot(whole).cpu()
        without += (whole - block).square().sum(dim=1).cpu()
    return total, without


def blocks(vector: Tensor) -> Iterator[tuple[int, int]]:
    """Where to cut a vector: into blocks on the CPU, not at all elsewhere, where a call costs more."""
    size = BLOCK if vector.device.type == "cpu" else max(1, len(vector))
    for start in range(0, len(vector), size):
        yield start, min(start + size, len(vector))
