"""Opacus (Yousefpour et al. 2021, arXiv 2109.12298): written-out gradients, and its ghost norms."""

from collections.abc import Callable, Iterator

from torch.nn.functional import cross_entropy

from benchmarks.harness.networks import Problem
from benchmarks.harness.results import Divided, Moments, Norms
from benchmarks.harness.without_library import Rows, examples_at_once, moments_of_rows, norms_of_rows


def opacus_norms(problem: Problem) -> Callable[[], Norms]:
    """S1 from GradSampleModule in hooks mode, of as many examples at a time as may be held."""
    rows = _written_out(problem)
    return lambda: norms_of_rows(rows())


def opacus_moments(problem: Problem) -> Callable[[], Moments]:
    """S2 from the same."""
    rows = _written_out(problem)
    return lambda: moments_of_rows(rows())


def opacus_ghost_norms(problem: Problem) -> Callable[[], Norms]:
    """S1 from the norms that ghost clipping computes (Li et al. 2022, arXiv 2110.05679), clipping nothing."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    parameters = problem.parameters
    wrapped = GradSampleModuleFastGradientClipping(problem.model, loss_reduction="sum")

    def run() -> Norms:
        wrapped.zero_grad()
        cross_entropy(wrapped(problem.inputs), problem.targets, reduction="sum").backward()
        squares = {name: p._norm_sample.double().square().sum() for name, p in parameters.items()}
        total = {name: p.grad for name, p in parameters.items()}
        return Norms(squares, Divided(total, len(problem.inputs)))

    return run


def _written_out(problem: Problem) -> Callable[[], Iterator[Rows]]:
    from opacus import GradSampleModule

    parameters = problem.parameters
    wrapped = GradSampleModule(problem.model, loss_reduction="sum")
    size = examples_at_once(problem)

    def rows() -> Iterator[Rows]:
        for inputs, targets in problem.chunks(size):
            cross_entropy(wrapped(inputs), targets, reduction="sum").backward()
            yield [(name, parameter.grad_sample) for name, parameter in parameters.items()]
            wrapped.zero_grad()  # drops grad_sample as well

    return rows
