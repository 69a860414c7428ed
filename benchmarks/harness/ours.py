"""Concord's own ways to each statistic: the one place to change when its interface does."""

from collections.abc import Callable, Mapping

from torch import Tensor, float64, tensor
from torch.nn.functional import cross_entropy

from benchmarks.harness.networks import Problem
from benchmarks.harness.results import Coherences, Divided, Moments, Norms
from pipeline import gradients
from pipeline.gradients import LayerCoherence
from pipeline.gradients.engine import Factor, PerExampleBackward

BUDGET = 2**25  # bytes that S2 may work in, beside its results


def ours_norms(problem: Problem) -> Callable[[], Norms]:
    """S1 of one batch after the other, by an engine that has seen a first one."""
    backward = PerExampleBackward(problem.model, _losses)
    count = len(problem.inputs)

    def run() -> Norms:
        squares, sums = {}, {}

        def take(name: str, factor: Factor) -> None:
            norms, (total,) = factor.norms_and_totals([slice(0, count)])
            squares[name], sums[name] = norms.sum(), total

        backward(problem.inputs, problem.targets, take)
        return Norms(squares, Divided(sums, count))

    return run


def ours_moments(problem: Problem) -> Callable[[], Moments]:
    """S2 likewise."""
    backward = PerExampleBackward(problem.model, _losses)
    count = len(problem.inputs)

    def run() -> Moments:
        mean, sums = {}, {}

        def take(name: str, factor: Factor) -> None:
            moments = factor.moments()
            mean[name], sums[name] = moments.mean, moments.squares

        backward(problem.inputs, problem.targets, take)
        return Moments(mean, Divided(sums, count - 1))

    return run


def ours_coherence_stream(problem: Problem) -> Callable[[], None]:
    """What a batch costs in a stream: all of S1, with the standard error, in float64 sums."""
    sums = gradients.CoherenceSums(problem.model, _losses)
    return lambda: sums.add(problem.inputs, problem.targets)


def ours_gsnr_stream(problem: Problem) -> Callable[[], None]:
    """What a batch costs in a stream: S2, in float64 means and deviations."""
    sums = gradients.GsnrSums(problem.model, _losses)
    return lambda: sums.add(problem.inputs, problem.targets)


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
