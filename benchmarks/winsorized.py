"""What a step of winsorised SGD costs over one of plain SGD: Concord, and torch.func with ways to select.

    python -m benchmarks.winsorized [--rounds 7] [--device cuda]

Prints Markdown. One thread on the CPU, freed memory kept by the process. A step is forward, backward,
aggregation and update, on random data; the percentage is clipped on each side. The peers write out all
gradients with torch.func and lay the examples of a coordinate beside each other, as their selection wants it.
About 5 minutes on one core.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.harness.bars import Verdict
from benchmarks.harness.memory import keep_freed_memory
from benchmarks.harness.networks import NETWORKS, Network, Problem
from benchmarks.harness.tables import machine, verdict_table
from benchmarks.harness.timing import Timing, time_in_turns
from benchmarks.harness.ways import PLAIN
from pipeline.gradients import WinsorizedGradient
from pipeline.gradients.aggregation.winsorized import winsorized_per_side

PERCENTS = (1.0, 2.0, 4.0, 8.0, 50.0)
PEER_PERCENT = 2.0
BOUND = 6.0  # of our step at 2 per cent on the MLP, over a plain one
LEARNING_RATE = 1e-6  # the network stays what it is: how many ReLUs are shut decides about our time
Step = Callable[[], None]
Select = Callable[[Tensor, int], tuple[Tensor, Tensor]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        keep_freed_memory("benchmarks.winsorized")
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # float32 is compared
    networks = the_networks()
    found = {
        title: time_in_turns(the_steps(network, arguments.device), arguments.rounds, arguments.device)
        for title, network in networks.items()
    }
    print(f"{machine(arguments.device)}, {arguments.rounds} interleaved rounds.\n")
    for line in table(found):
        print(line)
    if arguments.device == "cpu":
        first = next(iter(found))
        print("", *verdict_table([verdict(first, found[first])]), sep="\n")


def the_networks() -> dict[str, Network]:
    """By title; the first is the one with a goal."""
    mlp = replace(NETWORKS["mlp"], batch_size=100)
    cnn = replace(NETWORKS["cnn"], batch_size=100)
    return {
        "MLP 784-256x3-10, 100": mlp,
        "the same with tanh (no gradient is 0)": replace(mlp, build=_with_tanh(mlp.build)),
        "MNIST CNN, 100": cnn,
    }


def _with_tanh(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def built(*arguments: object) -> nn.Module:
        model = build(*arguments)
        for name, module in model.named_children():
            if isinstance(module, nn.ReLU):
                setattr(model, name, nn.Tanh())
        return model

    return built


def the_steps(network: Network, device: str) -> dict[str, Step]:
    """Name -> one step, on weights and data of its own; each has been called once."""
    steps = {PLAIN: _step(network, device, _plain)}
    for percent in PERCENTS:
        steps[f"Concord, {percent:g} %"] = _step(network, device, _ours(percent))
    for name, select in SELECTIONS.items():
        steps[f"torch.func and {name}, {PEER_PERCENT:g} %"] = _step(network, device, _by_torch_func(select))
    for step in steps.values():
        step()
    return steps


def _step(network: Network, device: str, prepare: Callable[[Problem], Callable[[], list[Tensor]]]) -> Step:
    problem = Problem.of(network, device)
    parameters, gradient = list(problem.parameters.values()), prepare(problem)

    def step() -> None:
        found = gradient()
        with torch.no_grad():
            torch._foreach_add_(parameters, found, alpha=-LEARNING_RATE)

    return step


def _plain(problem: Problem) -> Callable[[], list[Tensor]]:
    parameters = list(problem.parameters.values())

    def gradient() -> list[Tensor]:
        loss = cross_entropy(problem.model(problem.inputs), problem.targets)
        return list(torch.autograd.grad(loss, parameters))

    return gradient


def _example_losses(output: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(output, targets, reduction="none")


def _ours(percent: float) -> Callable[[Problem], Callable[[], list[Tensor]]]:
    def prepare(problem: Problem) -> Callable[[], list[Tensor]]:
        winsorized = WinsorizedGradient(problem.model, _example_losses, percent)
        return lambda: winsorized(problem.inputs, problem.targets)[0]

    return prepare


def _by_torch_func(select: Select) -> Callable[[Problem], Callable[[], list[Tensor]]]:
    def prepare(problem: Problem) -> Callable[[], list[Tensor]]:
        def loss_of_one(parameters: dict[str, Tensor], one: Tensor, target: Tensor) -> Tensor:
            output = torch.func.functional_call(problem.model, parameters, (one[None],))
            return cross_entropy(output, target[None])

        of_each = torch.func.vmap(torch.func.grad(loss_of_one), in_dims=(None, 0, 0))
        extremes = winsorized_per_side(problem.batch_size, PEER_PERCENT)

        def gradient() -> list[Tensor]:
            values = {name: parameter.detach() for name, parameter in problem.parameters.items()}
            rows = of_each(values, problem.inputs, problem.targets).values()
            return [_clipped_mean(some, select, extremes) for some in rows]

        return gradient

    return prepare


def _clipped_mean(rows: Tensor, select: Select, extremes: int) -> Tensor:
    """`(m, *p) -> (*p,)`."""
    columns = rows.flatten(1).t().contiguous()
    low, high = select(columns, extremes)
    return columns.clamp(low[:, None], high[:, None]).mean(dim=1).view(rows.shape[1:])


def _by_sort(columns: Tensor, extremes: int) -> tuple[Tensor, Tensor]:
    ordered = columns.sort(dim=1).values
    return ordered[:, extremes], ordered[:, -1 - extremes]


def _by_kthvalue(columns: Tensor, extremes: int) -> tuple[Tensor, Tensor]:
    low = columns.kthvalue(extremes + 1, dim=1).values
    return low, columns.kthvalue(columns.shape[1] - extremes, dim=1).values


def _by_topk(columns: Tensor, extremes: int) -> tuple[Tensor, Tensor]:
    high = columns.topk(extremes + 1, dim=1).values[:, -1]
    return columns.topk(extremes + 1, dim=1, largest=False).values[:, -1], high


SELECTIONS: dict[str, Select] = {"sort": _by_sort, "kthvalue": _by_kthvalue, "topk": _by_topk}


def table(found: dict[str, dict[str, Timing]]) -> list[str]:
    """A column for each network: milliseconds of the plain step, ratios to it for the others."""
    lines = [f"| step | {' | '.join(found)} |", f"|---{'|---' * len(found)}|"]
    for name in next(iter(found.values())):
        cells = [_cell(name, timings[name]) for timings in found.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _cell(name: str, timing: Timing) -> str:
    if name == PLAIN:
        return f"1 ({1e3 * timing.seconds:.2f} ms)"
    return f"{timing.ratio:.2f} [{timing.lowest:.2f}, {timing.highest:.2f}]"


def verdict(title: str, timings: dict[str, Timing]) -> Verdict:
    """Whether the goal is met."""
    ratio = timings["Concord, 2 %"].ratio
    return Verdict(f"winsorised at 2 %, {title}: <= {BOUND:g} x plain", f"{ratio:.2f}", ratio <= BOUND)


if __name__ == "__main__":
    main()
