"""Which values of a network have a row for each example, and how the rows lie, found by trying it.

The network is run on two and on three examples: what grows has rows for examples. Then the loss of each of
the three is sent back alone: rows that its gradient reaches are that example's. Networks that couple the
examples of a batch show twice, by a loss that changes with the company of its example, and by gradients
that reach others.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node

from pipeline.gradients.checks import refuse_half, refuse_operations
from pipeline.gradients.engine.graph import (
    PARAMETER,
    Graph,
    Layout,
    Layouts,
    graph_of,
    hooked,
    nodes_of,
    send_back,
)
from pipeline.gradients.errors import GradientError

Run = Callable[[Tensor, Tensor], Tensor]  # (inputs, targets) -> losses `(b,)`

FEW, MORE = 2, 3  # examples of a probe


class GraphReader:
    """Reads the graphs of one model and loss; what a probe found is kept for the batches that follow."""

    def __init__(self, run: Run, parameters: Mapping[str, Tensor]):
        """`run` is the network and its loss, without a trace; `parameters` are those that count, by name."""
        self._run = run
        self._names = {parameter: name for name, parameter in parameters.items()}
        self._layouts: dict[Hashable, tuple[Layouts, ...]] = {}

    def read(self, losses: Tensor, inputs: Tensor, targets: Tensor) -> Graph:
        """The graph of the losses `(b,)` of this batch."""
        nodes = nodes_of(losses)
        names = tuple(node.name() for node in nodes)
        key = (names, inputs.shape[1:], inputs.dtype, targets.shape[1:])
        layouts = self._layouts.get(key)
        if layouts is None:
            refuse_operations(names)
            refuse_half({node.name(): node._input_metadata[0].dtype for node in nodes})
            layouts, all_seen = self._probe(names, inputs.detach(), targets)
            if all_seen:
                self._layouts[key] = layouts
        return graph_of(nodes, layouts, self._names)

    def _probe(
        self, names: tuple[str, ...], inputs: Tensor, targets: Tensor
    ) -> tuple[tuple[Layouts, ...], bool]:
        """The layouts of all nodes, and whether gradients came to each meeting.

        An example whose gradient is zero shows nothing, and the next ones of the batch are tried.
        """
        found: dict[tuple[int, int], Layout] = {}
        for start in range(0, len(inputs), MORE):
            some = torch.arange(start, start + MORE, device=inputs.device) % len(inputs)
            few, more = (self._run(inputs[some[:size]], targets[some[:size]]) for size in (FEW, MORE))
            nodes = nodes_of(more)
            growing = _growing(names, nodes_of(few), nodes)
            self._check_company(few.detach(), more.detach(), inputs[some], targets[some])
            graph = graph_of(nodes, growing, self._names)
            position = {node: number for number, node in enumerate(nodes)}
            for (node, output), touched in _touched(
                more, graph, dict(zip(nodes, growing, strict=True))
            ).items():
                layout = _layout(growing[position[node]][output], touched, node)
                if layout:
                    found.setdefault((position[node], output), layout)
            self._read_all(more, graph)
            wanted = {position[meeting.node] for meeting in graph.meetings}
            all_seen = wanted <= {number for number, _ in found}
            if all_seen:
                break
        layouts = tuple(
            tuple(found.get((number, output), layout) for output, layout in enumerate(of_node))
            for number, of_node in enumerate(growing)
        )
        return layouts, all_seen

    def _read_all(self, losses: Tensor, graph: Graph) -> None:
        """Read what operations saved during a pass: what cannot be read is met before `.grad` is touched."""

        def read(node: Node, gradients: Sequence[Tensor | None]) -> None:
            for name in dir(node):
                if name.startswith("_saved_"):
                    getattr(node, name)

        with hooked(graph, read, bottom=True):
            torch.autograd.grad(losses.sum(), list(self._names), allow_unused=True)

    def _check_company(self, few: Tensor, more: Tensor, inputs: Tensor, targets: Tensor) -> None:
        """Refuse losses of two examples, `few`, and of three, `more`, in which those of the first two differ.

        A network that draws random numbers, by dropout, is believed: its losses differ anyway.
        """
        if _differ(few, more):
            with torch.random.fork_rng(devices=[inputs.device] if inputs.is_cuda else []):
                torch.rand((), device=inputs.device)  # the next draws are others
                again = self._run(inputs, targets).detach()
            if not _differ(again, more):
                raise GradientError(
                    "the loss of an example changes with the others in its batch: there are no per-example "
                    "gradients. Batch norm? Use impute_coherence(...)."
                )


def _growing(names: Sequence[str], few: Sequence[Node], more: Sequence[Node]) -> list[Layouts]:
    """For each output of each node the dimension that grows with the batch; examples one after the other."""
    for nodes, size in ((few, FEW), (more, MORE)):
        if tuple(node.name() for node in nodes) != tuple(names):
            raise GradientError(
                f"the network runs other operations on {size} examples than on this batch: per-example "
                "gradients need a network that treats each example alike, whatever their number."
            )
    return [
        (None,)
        if one.name() == PARAMETER and one.variable is other.variable
        else tuple(
            _growing_dim(one, small.shape, large.shape)
            for small, large in zip(one._input_metadata, other._input_metadata, strict=True)
        )
        for one, other in zip(few, more, strict=True)
    ]


def _growing_dim(node: Node, small: Sequence[int], large: Sequence[int]) -> Layout | None:
    dims = [dim for dim, (a, b) in enumerate(zip(small, large, strict=True)) if a != b]
    if not dims:
        return None
    (dim, *others) = dims
    if others or MORE * small[dim] != FEW * large[dim]:
        raise _coupled(node)
    return Layout(dim, 1, small[dim] // FEW)


def _differ(few: Tensor, more: Tensor) -> bool:
    """Whether losses `(n,)` of the same examples differ by more than rounding."""
    # Other kernels for other sizes round otherwise, also by TF32 on a GPU: a third of the digits must agree.
    # The last term is for losses that are themselves rounding errors, of examples learned by heart.
    epsilon = torch.finfo(more.dtype).eps
    allowed = epsilon ** (1 / 3) * more.abs().max() + 1000 * epsilon
    return bool(((few - more[: len(few)]).abs() > allowed).any())


def _touched(losses: Tensor, graph: Graph, layouts: Mapping[Node, Layouts]) -> dict[tuple[Node, int], Tensor]:
    """The places `(3, size)` along the growing dimension of each meeting's outputs that each loss reaches."""
    seen: dict[tuple[Node, int], Tensor] = {}

    for number in range(len(losses)):

        def see(node: Node, gradients: Sequence[Tensor | None], number: int = number) -> None:
            for output, gradient in enumerate(gradients):
                layout = layouts[node][output]
                if gradient is None or layout is None:
                    continue
                others = [dim for dim in range(gradient.ndim) if dim != layout.dim]
                # NaN and infinity, of a run that diverged, spread by 0 x NaN: they say nothing.
                reached = (gradient != 0) & gradient.isfinite()
                reached = reached.sum(dim=others) > 0 if others else reached
                seen.setdefault((node, output), reached.new_zeros(len(losses), len(reached)))[number] = (
                    reached
                )

        alone = torch.zeros_like(losses)
        alone[number] = 1
        send_back(losses, alone, graph, see, retain_graph=True)
    return seen


def _layout(growing: Layout, touched: Tensor, node: Node) -> Layout | None:
    """The layout in which all places `touched (3, size)` by an example are its own; None if there are none.

    Gradients may be zero by chance, or everywhere but at one token. Where several layouts fit, that counts in
    which the three examples touch the same places of their own; then that with longer runs.
    """
    num_examples, size = touched.shape
    each = size // num_examples
    if each > 1 and not bool(touched.any()):
        return None
    examples = torch.arange(num_examples, device=touched.device).unsqueeze(1)
    places = torch.arange(size, device=touched.device)
    fitting = []
    for inner in sorted((n for n in range(1, each + 1) if each % n == 0), reverse=True):
        own = places // inner % num_examples == examples
        if not bool((touched & ~own).any()):
            fitting.append(Layout(growing.dim, each // inner, inner))
    if not fitting:
        raise _coupled(node)

    return next((layout for layout in fitting if _alike(layout, touched)), fitting[0])


def _alike(layout: Layout, touched: Tensor) -> bool:
    """Whether each example touches the same places among its own."""
    along = Layout(0, layout.outer, layout.inner)
    first, *others = (along.split(reached)[number] for number, reached in enumerate(touched))
    return all(bool((other == first).all()) for other in others)


def _coupled(node: Node) -> GradientError:
    return GradientError(
        f"operation {node.name()} couples the examples of a batch: the loss of one depends on the others, so "
        "there are no per-example gradients. Batch norm? Use impute_coherence(...)."
    )
