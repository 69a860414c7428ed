"""Where the parameters of a network meet the examples of a batch, read off autograd's graph.

The graph of the losses is the truth about a network: it shows each operation with what it saved, whatever modules wrote it. Its
nodes fall into two kinds: those whose value has a row for each example, and those made from parameters alone. An edge from the
first to the second is a `Meeting`: there, and only there, gradients of examples are summed, and can be had one by one.

Which dimension of a value is the batch, and in which order, is found by a `Probe`: the network is run on two and on three examples,
and the loss of one of the three is sent back. This also finds networks that couple the examples of a batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from pipeline.gradients.errors import GradientError

PARAMETER = "torch::autograd::AccumulateGrad"


@dataclass(frozen=True)
class Layout:
    """How the examples lie in a value: dimension `dim` has size outer x b x inner."""

    dim: int
    outer: int
    inner: int

    def split(self, value: Tensor) -> Tensor:
        """The value with its examples first: `(b, *before, outer, inner, *after)`; a view where it can be."""
        num_examples = value.shape[self.dim] // (self.outer * self.inner)
        wide = value.unflatten(self.dim, (self.outer, num_examples, self.inner))
        return wide.movedim(self.dim + 1, 0)


@dataclass(frozen=True)
class Meeting:
    """An operation on examples (`node`) and its input number `edge`, made from parameters alone."""

    node: Node
    edge: int
    layout: Layout  # of the output of `node`
    source: Node  # what makes that input: a parameter itself, or operations on parameters
    source_output: int
    parameters: tuple[str, ...]  # those in it


@dataclass(frozen=True)
class Graph:
    """The graph of one batch's losses."""

    nodes: tuple[Node, ...]  # inputs before outputs
    meetings: tuple[Meeting, ...]
    bottom: tuple[Node, ...]  # of the meeting nodes, those below which there is no other


def nodes_below(root: Node) -> tuple[Node, ...]:
    """All nodes from which `root` is made, inputs before outputs; the same order for the same network."""
    order: list[Node] = []
    seen = {root}
    stack: list[tuple[Node, Iterator[Any]]] = [(root, iter(root.next_functions))]
    while stack:
        node, edges = stack[-1]
        for child, _ in edges:
            if child is not None and child not in seen:
                seen.add(child)
                stack.append((child, iter(child.next_functions)))
                break
        else:
            order.append(node)
            stack.pop()
    return tuple(order)


class GraphReader:
    """Reads the graphs of one model and loss; what a probe found is kept for the batches that follow."""

    def __init__(self, losses_of: Callable[[Tensor, Tensor], Tensor], parameters: Mapping[str, Tensor]):
        """`losses_of(inputs, targets)` runs the network; `parameters` are those that count, by name."""
        self._losses_of = losses_of
        self._names = {parameter: name for name, parameter in parameters.items()}
        self._layouts: dict[Any, tuple[Layout | None, ...]] = {}

    def read(self, losses: Tensor, inputs: Tensor, targets: Tensor) -> Graph:
        """The graph of the losses `(b,)` of this batch."""
        nodes = _nodes(losses)
        key = (tuple(node.name() for node in nodes), inputs.shape[1:], inputs.dtype, targets.shape[1:])
        if key not in self._layouts:
            self._layouts[key] = self._probe(nodes, inputs, targets)
        return self._graph(nodes, self._layouts[key])

    def _graph(self, nodes: Sequence[Node], layouts: Sequence[Layout | None]) -> Graph:
        made_of: dict[Node, tuple[str, ...]] = {}  # of nodes made from parameters alone: which
        meetings: list[Meeting] = []
        above: set[Node] = set()  # nodes at or above a meeting
        bottom = []
        for node, layout in zip(nodes, layouts, strict=True):
            children = [child for child, _ in node.next_functions if child is not None]
            if layout is None:
                made_of[node] = self._parameters_of(node, children, made_of)
                continue
            met = [
                Meeting(node, edge, layout, child, output, made_of[child])
                for edge, (child, output) in enumerate(node.next_functions)
                if made_of.get(child)
            ]
            below = any(child in above for child in children)
            if met and not below:
                bottom.append(node)
            if met or below:
                above.add(node)
            meetings += met
        return Graph(tuple(nodes), tuple(meetings), tuple(bottom))

    def _parameters_of(
        self, node: Node, children: Sequence[Node], made_of: Mapping[Node, tuple[str, ...]]
    ) -> tuple[str, ...]:
        if node.name() == PARAMETER:
            name = self._names.get(node.variable)
            return (name,) if name else ()
        for child in children:
            if child not in made_of:
                raise GradientError(
                    f"operation {node.name()} sums over the examples of a batch: the loss of one example depends "
                    "on the others, so there are no per-example gradients."
                )
        return tuple(dict.fromkeys(name for child in children for name in made_of[child]))

    def _probe(self, nodes: Sequence[Node], inputs: Tensor, targets: Tensor) -> tuple[Layout | None, ...]:
        """The layout of every node's value; None for those without a batch."""
        graphs = []
        for size in (2, 3):
            some = torch.arange(size, device=inputs.device) % len(inputs)
            losses = self._losses_of(inputs[some], targets[some])
            graphs.append(_nodes(losses))
            if [node.name() for node in graphs[-1]] != [node.name() for node in nodes]:
                raise GradientError(
                    f"the network runs other operations on {size} examples than on {len(inputs)}: per-example "
                    "gradients need a network that treats each example alike, whatever their number."
                )
        dims = [_batch_dim(two, three) for two, three in zip(*graphs, strict=True)]
        return self._ordered(graphs[1], losses, dims)

    def _ordered(
        self, nodes: Sequence[Node], losses: Tensor, dims: Sequence[tuple[int, int] | None]
    ) -> tuple[Layout | None, ...]:
        """How the three examples of a probe lie in each value, from the gradient of the second one's loss."""
        assumed = tuple(dim and Layout(dim[0], 1, dim[1]) for dim in dims)
        graph = self._graph(nodes, assumed)
        found: dict[Node, Layout] = {}

        def see(meeting_node: Node, gradients: Sequence[Tensor | None]) -> None:
            layout = assumed[position[meeting_node]]
            gradient = next(value for value in gradients if value is not None)
            others = [dim for dim in range(gradient.ndim) if dim != layout.dim]
            # NaN reaches every example; where the gradients are not finite is told later, by layer.
            touched = (gradient != 0) & gradient.isfinite()
            touched = touched.sum(dim=others) if others else touched
            found[meeting_node] = _layout_of(layout.dim, touched.nonzero()[:, 0], len(touched), meeting_node)

        position = {node: number for number, node in enumerate(nodes)}
        only_second = torch.zeros_like(losses)
        only_second[1] = 1
        send_back(losses, only_second, graph, see)
        return tuple(found.get(node, layout) for node, layout in zip(nodes, assumed, strict=True))


def send_back(
    losses: Tensor,
    weights: Tensor,
    graph: Graph,
    arrive: Callable[[Node, Sequence[Tensor | None]], None],
) -> None:
    """One backward pass from `weights . losses` that stops above the parameters.

    `arrive(node, gradients of its outputs)` is called for each node where parameters meet examples. What the
    pass would do for the parameters themselves is left out: that is for `arrive`.
    """
    edges = [(node, output) for node in graph.bottom for output in range(len(node._input_metadata))]
    with hooked(graph, arrive, bottom=False):
        found = torch.autograd.grad(
            losses, [GradientEdge(node, output) for node, output in edges], weights, allow_unused=True
        )
    arrived: dict[Node, list[Tensor | None]] = {}
    for (node, _), gradient in zip(edges, found, strict=True):
        arrived.setdefault(node, []).append(gradient)
    for node, gradients in arrived.items():
        if any(gradient is not None for gradient in gradients):
            arrive(node, gradients)


@contextmanager
def hooked(
    graph: Graph, arrive: Callable[[Node, Sequence[Tensor | None]], None], *, bottom: bool
) -> Iterator[None]:
    """Call `arrive` whenever a backward pass reaches a meeting; those at the bottom only if asked for."""
    left_out = set() if bottom else set(graph.bottom)
    nodes = dict.fromkeys(meeting.node for meeting in graph.meetings if meeting.node not in left_out)
    handles = [node.register_prehook(partial(arrive, node)) for node in nodes]
    try:
        yield
    finally:
        # A hook that stayed would keep its node, and the node its hook, for ever.
        for handle in handles:
            handle.remove()


def _nodes(losses: Tensor) -> tuple[Node, ...]:
    if losses.grad_fn is None:
        raise GradientError("the loss does not depend on any parameter with requires_grad.")
    return nodes_below(losses.grad_fn)


def _batch_dim(two: Node, three: Node) -> tuple[int, int] | None:
    """The dimension of a node's value that grows with the batch, and its size for one example."""
    if two.name() == PARAMETER and two.variable is three.variable:
        return None
    small, large = two._input_metadata[0].shape, three._input_metadata[0].shape
    growing = [dim for dim, (a, b) in enumerate(zip(small, large, strict=True)) if a != b]
    if not growing:
        return None
    if len(growing) > 1 or 3 * small[growing[0]] != 2 * large[growing[0]]:
        raise _coupled(two)
    return growing[0], small[growing[0]] // 2


def _layout_of(dim: int, touched: Tensor, size: int, node: Node) -> Layout:
    """The layout in which all places `touched` by the second of three examples are its own."""
    each = size // 3
    # Examples one after the other come first: where little was touched, several layouts fit.
    for inner in [each, *(n for n in range(1, each) if each % n == 0)]:
        if bool((touched // inner % 3 == 1).all()):
            return Layout(dim, each // inner, inner)
    raise _coupled(node)


def _coupled(node: Node) -> GradientError:
    return GradientError(
        f"operation {node.name()} couples the examples of a batch: the loss of one depends on the others, so there "
        "are no per-example gradients. Batch norm? Use impute_coherence(...)."
    )
