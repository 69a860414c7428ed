"""BackPACK (Dangel et al. 2020, arXiv 1912.10985): squared norms and squares of individual gradients."""

from collections.abc import Callable

from torch import nn

from benchmarks.harness.networks import Problem
from benchmarks.harness.results import Divided, Moments, Norms


def backpack_norms(problem: Problem) -> Callable[[], Norms]:
    """S1 from BatchL2Grad."""
    from backpack.extensions import BatchL2Grad

    extended_backward = _extended(problem, BatchL2Grad)
    parameters, num_examples = problem.parameters, len(problem.inputs)

    def run() -> Norms:
        extended_backward()
        squares = {name: p.batch_l2.double().sum() for name, p in parameters.items()}
        return Norms(squares, Divided({name: p.grad for name, p in parameters.items()}, num_examples))

    return run


def backpack_moments(problem: Problem) -> Callable[[], Moments]:
    """S2 from SumGradSquared and the gradient; its `Variance` is the same with ddof 0."""
    from backpack.extensions import SumGradSquared

    extended_backward = _extended(problem, SumGradSquared)
    parameters, num_examples = problem.parameters, len(problem.inputs)

    def run() -> Moments:
        extended_backward()
        mean = {name: p.grad / num_examples for name, p in parameters.items()}
        variance = {
            name: (p.sum_grad_squared - num_examples * mean[name].square()) / (num_examples - 1)
            for name, p in parameters.items()
        }
        return Moments(mean, variance)

    return run


def _extended(problem: Problem, extension: type) -> Callable[[], None]:
    """A backward pass of the summed loss with an extension. Raises `ValueError` for layers without a rule."""
    from backpack import backpack, extend

    model = extend(problem.model)
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))

    def backward() -> None:
        model.zero_grad()
        with backpack(extension()):
            loss(model(problem.inputs), problem.targets).backward()

    backward()
    field = extension().savefield
    without = {
        type(module).__name__
        for module in problem.model.modules()
        if not all(hasattr(parameter, field) for parameter in module.parameters(recurse=False))
    }
    if without:
        raise ValueError(f"no rule for {', '.join(sorted(without))}")
    return backward
