"""G-6: what a step of gradient descent does to a weight's mean gradient, beside the weight (Section 3.3).

Full-batch gradient descent, all seeds side by side. Learning the layers below a weight W adds a term of the
sign of -W to its mean gradient g (eq. 28): the change of g should oppose W, and W g < 0 be the rule.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from pipeline.studies.learning.dense import Layer, Networks, cross_entropy, descended, outputs_of, passed
from pipeline.studies.learning.stopping import Stop, go_on, until
from pipeline.studies.learning.tables import ChangeRow, CourseRow

FIRST_LAYER = 2  # that has a layer below it
TOP_SHARE = 0.1
CHUNK = 5000  # examples in one pass: memory, and last bits


@dataclass(frozen=True, eq=False)
class Examples:
    """Images as rows, the same for all seeds: `inputs (i, s)`, `labels (i,)` int64."""

    inputs: Tensor
    labels: Tensor

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """In parts small enough for one pass, shaped for networks side by side: `(1, i, s)`, `(1, i)`."""
        parts = zip(self.inputs.split(CHUNK), self.labels.split(CHUNK), strict=True)
        return ((inputs[None], labels[None]) for inputs, labels in parts)

    def first(self, number: int | None) -> "Examples":
        """The first so many; None: all."""
        return Examples(self.inputs[:number], self.labels[:number])


@dataclass(frozen=True, eq=False)
class State:
    """All networks before the update of `step`, over the training set; `(b,)` one a seed."""

    step: int
    networks: Networks
    gradient: Networks  # mean
    loss: Tensor  # (b,) float64
    accuracy: Tensor  # (b,) float64


def descend(networks: Networks, train: Examples, lr: float, steps: int) -> Iterator[State]:
    """Steps 0 to `steps`."""
    for step in range(steps + 1):
        losses, hits, sums = 0.0, 0.0, None
        for inputs, labels in train.chunks():
            now = passed(networks, inputs, labels, cross_entropy)
            losses += now.losses.double().sum(dim=1)
            hits += _hits(now.outputs, labels)
            sums = _added(sums, now.summed_gradient)
        size = len(train.labels)
        gradient = tuple(Layer(layer.weight / size, layer.bias / size) for layer in sums)
        yield State(step, networks, gradient, losses / size, hits / size)
        networks = descended(networks, gradient, lr)


def follow(
    networks: Networks,
    train: Examples,
    test: Examples,
    lr: float,
    steps: Sequence[int],
    stop: Stop = go_on,
) -> tuple[list[ChangeRow], list[CourseRow]]:
    """The change at each of `steps`, and the course there, by seed; one step more than the last is taken."""
    changes, course, wanted = [], [], set(steps)
    for state, after in pairwise(until(stop, descend(networks, train, lr, max(steps) + 1))):
        if state.step in wanted:
            changes += _change_rows(state, after)
            course += _course_rows(state, test)
    by_seed = {"key": lambda row: row.seed}  # a stable sort: steps and layers keep their order
    return sorted(changes, **by_seed), sorted(course, **by_seed)


def compare(weights: Tensor, gradients: Tensor, changes: Tensor) -> dict[str, float]:
    """The numbers of a `ChangeRow`, from the weights of one layer of one network, in any one shape."""
    weights, gradients, changes = (each.double().flatten() for each in (weights, gradients, changes))
    live, signed = changes != 0, weights * gradients
    opposed, top_opposed = signed[signed != 0], signed[signed != 0][_top(weights[signed != 0])]
    top = _top(weights[live])
    return {
        "weights": len(weights),
        "unchanged": int((~live).sum()),
        "correlation": correlation(weights[live], changes[live]),
        "correlation_top": correlation(weights[live][top], changes[live][top]),
        "opposed": (opposed < 0).double().mean().item(),
        "opposed_top": (top_opposed < 0).double().mean().item(),
    }


def correlation(x: Tensor, y: Tensor) -> float:
    """Pearson's, of two vectors; NaN without variance."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    return (x @ y / (x @ x * (y @ y)).sqrt()).item()


def _top(weights: Tensor) -> Tensor:
    """Places of the tenth of the weights with the largest size, at least one of any."""
    number = min(len(weights), max(1, round(TOP_SHARE * len(weights))))
    return weights.abs().topk(number).indices


def _change_rows(state: State, after: State) -> Iterator[ChangeRow]:
    """By seed, then layer."""
    positions = range(FIRST_LAYER - 1, len(state.networks))
    weights = [state.networks[position].weight.cpu() for position in positions]
    gradients = [state.gradient[position].weight.cpu() for position in positions]
    later = [after.gradient[position].weight.cpu() for position in positions]
    for seed in range(len(state.loss)):
        for position, w, g, g_after in zip(positions, weights, gradients, later, strict=True):
            found = compare(w[seed], g[seed], g_after[seed] - g[seed])
            yield ChangeRow(seed, state.step, position + 1, **found)


def _course_rows(state: State, test: Examples) -> Iterator[CourseRow]:
    losses, hits = 0.0, 0.0
    for inputs, labels in test.chunks():
        _, outputs = outputs_of(state.networks, inputs)
        losses += cross_entropy(outputs, labels)[0].double().sum(dim=1)
        hits += _hits(outputs, labels)
    size = len(test.labels)
    columns = (state.loss, state.accuracy, losses / size, hits / size)
    for seed, values in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        yield CourseRow(seed, state.step, *values)


def _hits(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs.argmax(dim=-1) == labels).double().sum(dim=1)


def _added(sums: Networks | None, more: Networks) -> Networks:
    if sums is None:
        return more
    pairs = zip(sums, more, strict=True)
    return tuple(Layer(one.weight + other.weight, one.bias + other.bias) for one, other in pairs)
