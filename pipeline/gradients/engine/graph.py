"""Where the parameters of a network meet the examples of a batch, read off autograd's graph.

The graph of the losses is the truth about a network: it shows each operation with what it saved, whatever
modules wrote it. Its nodes fall into two kinds: those whose value has a row for each example, and those
made from parameters alone. An edge from the first to the second is a `Meeting`: there, and only there,
gradients of examples are summed, and can be had one by one.

Which nodes have rows for examples, and how these lie, comes from a probe (probe.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node
from torch.utils.checkpoint import CheckpointError

from pipeline.gradients.errors import GradientError

PARAMETER = "torch::autograd::AccumulateGrad"

Arrive = Callable[[Node, Sequence[Tensor | None]], None]  # (node, gradients of its outputs)


@dataclass(frozen=True)
class Layout:
    """How the examples lie in a value: dimension `dim` has size outer x b x inner."""

    dim: int
    outer: int
    inner: int

    @property
    def is_plain(self) -> bool:
        """Whether the first dimension is the batch, as it mostly is: that needs no rearranging."""
        return self.dim == 0 and self.outer == self.inner == 1

    def split(self, value: Tensor) -> Tensor:
        """The value with its examples first: `(b, *before, outer, inner, *after)`; a view where it can be."""
        num_examples = value.shape[self.dim] // (self.outer * self.inner)
        wide = value.unflatten(self.dim, (self.outer, num_examples, self.inner))
        return wide.movedim(self.dim + 1, 0)

    def joined(self, split: Tensor, shape: torch.Size) -> Tensor:
        """What `split` made, as a value of this shape again."""
        return split.movedim(0, self.dim + 1).reshape(shape)


Layouts = tuple[Layout | None, ...]  # of the outputs of a node; None: no row for each example


class Meeting(NamedTuple):
    """An operation on examples (`node`) and its input number `edge`, made from parameters alone."""

    node: Node
    edge: int
    layouts: Layouts  # of the outputs of `node`
    source: Node  # what makes that input: a parameter itself, or operations on parameters
    source_output: int
    parameters: tuple[str, ...]  # those in it

    @property
    def layout(self) -> Layout:
        """Of the first output: most operations have one."""
        return self.layouts[0]

    @property
    def source_shape(self) -> torch.Size:
        """Shape of the value that is made from parameters alone."""
        return torch.Size(self.source._input_metadata[self.source_output].shape)


@dataclass(frozen=True)
class Graph:
    """The graph of one batch's losses."""

    nodes: tuple[Node, ...]  # inputs before outputs
    meetings: tuple[Meeting, ...]
    bottom: tuple[Node, ...]  # of the meeting nodes, those below which there is no other


def nodes_of(losses: Tensor) -> tuple[Node, ...]:
    """All nodes from which the losses are made, inputs before outputs; in one order for one network."""
    root = losses.grad_fn
    if root is None:
        raise GradientError("the loss does not depend on any parameter with requires_grad.")
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


def graph_of(nodes: Sequence[Node], layouts: Sequence[Layouts], names: Mapping[Tensor, str]) -> Graph:
    """Find the meetings among nodes; `names` are those of the parameters that count."""
    made_of: dict[Node, tuple[str, ...]] = {}  # of nodes made from parameters alone: which
    meetings: list[Meeting] = []
    above: set[Node] = set()  # nodes at or above a meeting
    bottom = []
    for node, its in zip(nodes, layouts, strict=True):
        edges = node.next_functions
        if its[0] is None and not any(its):
            made_of[node] = _parameters_in(node, names, made_of)
            continue
        met = [
            Meeting(node, edge, its, child, output, made_of[child])
            for edge, (child, output) in enumerate(edges)
            if made_of.get(child)
        ]
        below = any(child in above for child, _ in edges)
        if met and not below:
            bottom.append(node)
        if met or below:
            above.add(node)
        meetings += met
    return Graph(tuple(nodes), tuple(meetings), tuple(bottom))


def _parameters_in(
    node: Node, names: Mapping[Tensor, str], made_of: Mapping[Node, tuple[str, ...]]
) -> tuple[str, ...]:
    if node.name() == PARAMETER:
        name = names.get(node.variable)
        return (name,) if name else ()
    children = [child for child, _ in node.next_functions if child is not None]
    if any(child not in made_of for child in children):
        raise GradientError(
            f"operation {node.name()} sums over the examples of a batch: the loss of one example depends on "
            "the others, so there are no per-example gradients. Batch norm? Use impute_coherence(...)."
        )
    return tuple(dict.fromkeys(name for child in children for name in made_of[child]))


def send_back(
    losses: Tensor, weights: Tensor, graph: Graph, arrive: Arrive, *, retain_graph: bool = False
) -> None:
    """One backward pass from `weights . losses` that stops above the parameters.

    `arrive(node, gradients of its outputs)` is called for each node where parameters meet examples. What the
    pass would do for the parameters themselves is left out: that is for `arrive`.
    """
    edges = [(node, output) for node in graph.bottom for output in range(len(node._input_metadata))]
    with hooked(graph, arrive, bottom=False):
        found = torch.autograd.grad(
            losses,
            [GradientEdge(node, output) for node, output in edges],
            weights,
            allow_unused=True,
            retain_graph=retain_graph,
        )
    arrived: dict[Node, list[Tensor | None]] = {}
    for (node, _), gradient in zip(edges, found, strict=True):
        arrived.setdefault(node, []).append(gradient)
    del found
    with torch.no_grad():  # as within the pass
        for node in list(arrived):
            gradients = arrived.pop(node)  # each is freed after its use
            if any(gradient is not None for gradient in gradients):
                arrive(node, gradients)


@contextmanager
def hooked(graph: Graph, arrive: Arrive, *, bottom: bool) -> Iterator[None]:
    """Call `arrive` whenever a backward pass reaches a meeting; those at the bottom only if asked for."""
    left_out = set() if bottom else set(graph.bottom)
    nodes = dict.fromkeys(meeting.node for meeting in graph.meetings if meeting.node not in left_out)
    handles = [node.register_prehook(partial(arrive, node)) for node in nodes]
    try:
        yield
    except CheckpointError as error:  # what is computed again may be read once, by the operation itself
        raise GradientError(
            "activation checkpointing hides what operations saved: turn it off while measuring, as by "
            "model.set_grad_checkpointing(False) in timm."
        ) from error
    finally:
        # A hook that stayed would keep its node, and the node its hook, for ever.
        for handle in handles:
            handle.remove()
