"""Concord's own way to each statistic: the one place to change when its interface does."""

from collections.abc import Callable, Mapping

from torch import Tensor, float64, tensor
from torch.nn.functional import cross_entropy

from benchmarks.harness.networks import Problem
from benchmarks.harness.results import Coherences, Moments
from pipeline import gradients
from pipeline.gradients import LayerCoherence

BUDGET = 2**25  # bytes that measure_gsnr may work in, beside its results


def ours_norms(problem: Problem) -> Callable[[], Coherences]:
    """S1: coherence of the network, its layers and parameters; no standard error, which needs more sums."""
    batch = [(problem.inputs, problem.targets)]

    def run() -> Coherences:
        coherence = gradients.measure_coherence(problem.model, batch, _losses, standard_error=False)
        return _coherences(coherence.parameters)

    return run


def ours_moments(problem: Problem) -> Callable[[], Moments]:
    """S2: mean and variance of each parameter."""
    batch = [(problem.inputs, problem.targets)]

    def run() -> Moments:
        gsnr = gradients.measure_gsnr(problem.model, batch, _losses)
        return Moments(gsnr.mean, gsnr.variance)

    return run


def ours_imputed(problem: Problem) -> Callable[[], Coherences]:
    """Imputed coherence, from batch gradients."""
    batches = list(problem.chunks(problem.batch_size))
    return lambda: _coherences(gradients.impute_coherence(problem.model, batches, _losses).layers)


def _losses(output: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(output, target, reduction="none")


def _coherences(parts: Mapping[str, LayerCoherence]) -> Coherences:
    return Coherences(
        {name: tensor(part.m_coherence, dtype=float64) for name, part in parts.items()},
        {name: tensor(part.share, dtype=float64) for name, part in parts.items()},
    )
