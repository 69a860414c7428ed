"""Errors of the ways against a float64 loop over examples.

In float32 a value next to the kink of a ReLU may fall on its other side than in float64, and a max pool may
choose another of two near values: the gradients then differ by far more than rounding, however their
statistics are made. For the errors alone, smooth functions stand in for both.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from benchmarks.harness.networks import Network, Problem
from benchmarks.harness.results import Coherences, Norms, Result, coherences_of, errors_of
from benchmarks.harness.ways import Run, Way

EXAMPLES = 16  # in a batch: float64 loops are slow


def _gelu(inputs: Tensor, **_: object) -> Tensor:
    return functional.gelu(inputs)


def _average(inputs: Tensor, kernel_size: int, stride: int, padding: int, **_: object) -> Tensor:
    return functional.avg_pool2d(inputs, kernel_size, stride, padding)


SMOOTH = {functional.relu: _gelu, functional.max_pool2d: _average}


class WithoutKinks(TorchFunctionMode):
    """Within it, GELU is called for ReLU and the average for the maximum of a pool."""

    def __torch_function__(
        self, function: Callable, types: object, args: tuple = (), kwargs: Mapping | None = None
    ) -> object:
        return SMOOTH.get(function, function)(*args, **(kwargs or {}))


def truth_of(way: Callable[[Problem], Run], network: Network, device: str) -> Result:
    """What a way gives in float64."""
    with WithoutKinks():
        return way(Problem.of(_small(network), device, torch.float64))()


def way_errors(way: Way, truth: Result, network: Network, device: str) -> dict[str, float]:
    """The largest relative error of each field that the way gives."""
    network = _small(network)
    with WithoutKinks():
        result = way.prepare(Problem.of(network, device))()
    if result is None:
        return {}
    if isinstance(result, Coherences) and isinstance(truth, Norms):
        truth = coherences_of(truth, network.batch_size)
    return errors_of(result, truth)


def _small(network: Network) -> Network:
    return replace(network, batch_size=min(network.batch_size, EXAMPLES))
