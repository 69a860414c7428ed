"""What torch alone offers: the training step itself (the floor), a loop over examples, and torch.func."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.harness.networks import Problem
from benchmarks.harness.results import Coherences, Divided, Gradient, Moments, MomentSums, Norms, add_to

HELD = {"cpu": 2**30, "cuda": 2**34}  # bytes of per-example gradients that a way may hold at once
Rows = list[tuple[str, Tensor]]  # gradients `(b, *p)` of some examples, by parameter


def examples_at_once(problem: Problem) -> int:
    """How many examples' gradients fit into what may be held; a user would split a larger batch so."""
    bytes_of_one = sum(parameter.nbytes for parameter in problem.parameters.values())
    held = HELD.get(problem.inputs.device.type, HELD["cpu"])
    return min(problem.batch_size, max(1, held // bytes_of_one))


def plain(problem: Problem) -> Callable[[], Gradient]:
    """One forward and one backward pass of each batch; the gradient of the last."""

    def run() -> Gradient:
        for inputs, targets in problem.chunks(problem.batch_size):
            problem.model.zero_grad()
            cross_entropy(problem.model(inputs), targets).backward()
        return Gradient({name: parameter.grad for name, parameter in problem.parameters.items()})

    return run


def _one_by_one(problem: Problem) -> Iterator[Rows]:
    """The gradients of each example, as rows of one."""
    parameters = problem.parameters
    for one, target in problem.chunks(1):
        gradients = torch.autograd.grad(cross_entropy(problem.model(one), target), list(parameters.values()))
        yield [(name, gradient[None]) for name, gradient in zip(parameters, gradients, strict=True)]


def _by_torch_func(problem: Problem) -> Callable[[], Iterator[Rows]]:
    """A function that gives rows of as many examples as may be held."""
    size = examples_at_once(problem)

    def loss_of_one(parameters: dict[str, Tensor], one: Tensor, target: Tensor) -> Tensor:
        output = torch.func.functional_call(problem.model, parameters, (one[None],))
        return cross_entropy(output, target[None])

    of_each = torch.func.vmap(torch.func.grad(loss_of_one), in_dims=(None, 0, 0))

    def rows() -> Iterator[Rows]:
        values = {name: parameter.detach() for name, parameter in problem.parameters.items()}
        for inputs, targets in problem.chunks(size):
            yield list(of_each(values, inputs, targets).items())

    return rows


def norms_of_rows(rows: Iterator[Rows]) -> Norms:
    """S1 from written-out gradients."""
    squares: dict[str, Tensor] = {}
    total: dict[str, Tensor] = {}
    count = 0
    for some in rows:
        for name, values in some:
            # Not norm(dim=1), which adds up in sequence: 1e-4 off for a million parameters.
            add_to(squares, name, values.flatten(1).square().sum(dim=1).double().sum())
            add_to(total, name, values.sum(dim=0))
        count += len(some[0][1])
    return Norms(squares, Divided(total, count))


def moments_of_rows(rows: Iterator[Rows]) -> Moments:
    """S2 from written-out gradients."""
    sums = MomentSums()
    for some in rows:
        sums.add(some)
    return sums.finish()


def loop_norms(problem: Problem) -> Callable[[], Norms]:
    """S1, one backward pass an example. In float64, the truth."""
    return lambda: norms_of_rows(_one_by_one(problem))


def loop_moments(problem: Problem) -> Callable[[], Moments]:
    """S2, one backward pass an example. In float64, the truth."""
    return lambda: moments_of_rows(_one_by_one(problem))


def torch_func_norms(problem: Problem) -> Callable[[], Norms]:
    """S1 by vmap(grad)."""
    rows = _by_torch_func(problem)
    return lambda: norms_of_rows(rows())


def torch_func_moments(problem: Problem) -> Callable[[], Moments]:
    """S2 by vmap(grad)."""
    rows = _by_torch_func(problem)
    return lambda: moments_of_rows(rows())


def imputed_by_formula(problem: Problem) -> Callable[[], Coherences]:
    """M-coherence and shares, imputed from batch gradients by the definition. In float64, the truth."""

    def run() -> Coherences:
        gradients = [
            torch.autograd.grad(cross_entropy(problem.model(inputs), targets), problem.model.parameters())
            for inputs, targets in problem.chunks(problem.batch_size)
        ]
        layers: dict[str, list[np.ndarray]] = {}
        for name, *same in zip(problem.parameters, *gradients, strict=True):
            rows = torch.stack([gradient.flatten() for gradient in same]).double().cpu().numpy()
            layers.setdefault(name.rpartition(".")[0], []).append(rows)
        return _impute({layer: np.hstack(rows) for layer, rows in layers.items()}, problem.batch_size)

    return run


def _impute(layers: dict[str, np.ndarray], batch_size: int) -> Coherences:
    """From gradients `(B, p)`: alpha = P / (P + k (m-1)/(m-k) (V - P)), P = ||mean||^2, V - P variance."""
    norm, spread = {}, {}
    num_examples = 0
    for layer, rows in layers.items():
        num_examples = len(rows) * batch_size
        norm[layer] = np.square(rows.mean(axis=0)).sum()
        variance = np.square(rows - rows.mean(axis=0)).sum() / len(rows)
        factor = batch_size * (num_examples - 1) / (num_examples - batch_size)
        spread[layer] = norm[layer] + factor * variance
    whole = sum(spread.values())
    return Coherences(
        {layer: torch.tensor(num_examples * norm[layer] / spread[layer]) for layer in layers},
        {layer: torch.tensor(spread[layer] / whole) for layer in layers},
    )
