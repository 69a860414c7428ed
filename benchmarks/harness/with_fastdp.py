"""fastDP (Bu et al. 2023, arXiv 2210.00038, awslabs/fast-differential-privacy): mixed ghost norms.

Its privacy engine clips and adds noise, and forgets the norms at the end of the backward pass. Here its hooks
are attached without a block to clip, which leaves them in `norm_sample`.
"""

from collections.abc import Callable
from math import inf

import torch
from torch.nn.functional import cross_entropy

from benchmarks.harness.networks import Problem
from benchmarks.harness.results import Divided, Norms


def fastdp_norms(problem: Problem) -> Callable[[], Norms]:
    """S1 beside the ordinary gradients of autograd."""
    parameters = problem.parameters
    _attach(problem, clipping_mode="MixGhostClip")

    def run() -> Norms:
        problem.model.zero_grad()
        _backward(problem)
        total = {name: p.grad for name, p in parameters.items()}
        return Norms(_squares(problem), Divided(total, len(problem.inputs)))

    return run


def fastdp_book_keeping_norms(problem: Problem) -> Callable[[], Norms]:
    """S1 by book-keeping: autograd makes no weight gradients, they are made from what the hooks kept.

    Its clipping factors are all 1: no norm exceeds infinity.
    """
    from fastDP.autograd_grad_sample import _per_block_clip_grad

    parameters = problem.parameters
    layers = _attach(problem, clipping_mode="MixOpt")
    for parameter in parameters.values():
        parameter.requires_grad_(False)
    # One parameter below all others keeps the graph alive: the bias is the cheaper, where there is one.
    origin = layers[0][1].weight if layers[0][1].bias is None else layers[0][1].bias
    origin.requires_grad_(True)

    def run() -> Norms:
        origin.grad = None
        for parameter in parameters.values():
            parameter.private_grad = torch.zeros_like(parameter)
        _backward(problem)
        squares = _squares(problem)
        _per_block_clip_grad(layers[0][1], list(parameters.items()), layers, "all-layer", "global", 0.0, inf)
        total = {name: p.private_grad for name, p in parameters.items()}
        return Norms(squares, Divided(total, len(problem.inputs)))

    return run


def _attach(problem: Problem, clipping_mode: str) -> list[tuple[str, torch.nn.Module]]:
    """Attach the hooks; the modules that have parameters of their own."""
    from fastDP.autograd_grad_sample import add_hooks

    for parameter in problem.parameters.values():
        parameter.initially_requires_grad = True  # as the privacy engine marks them
    add_hooks(problem.model, loss_reduction="sum", clipping_mode=clipping_mode, block_heads=[])
    return [
        (name, module)
        for name, module in problem.model.named_modules()
        if list(module.parameters(recurse=False))
    ]


def _backward(problem: Problem) -> None:
    cross_entropy(problem.model(problem.inputs), problem.targets, reduction="sum").backward()


def _squares(problem: Problem) -> dict[str, torch.Tensor]:
    return {name: p.norm_sample.double().square().sum() for name, p in problem.parameters.items()}
