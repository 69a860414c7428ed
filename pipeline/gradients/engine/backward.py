"""One forward and one backward pass that gives the gradients of every example."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from pipeline.gradients.checks import (
    check_batch,
    check_losses,
    eager,
    refuse_autocast,
    refuse_half,
    trainable_parameters,
    unwrapped,
)
from pipeline.gradients.engine.factors import Factor, Rows, Sum, Zero
from pipeline.gradients.engine.graph import Graph, Meeting, hooked, send_back
from pipeline.gradients.engine.operations import RULES
from pipeline.gradients.engine.operations.fallback import fallback
from pipeline.gradients.engine.parameters import of_parameters
from pipeline.gradients.engine.probe import GraphReader
from pipeline.gradients.state import without_trace

Loss = Callable[[Tensor, Tensor], Tensor]  # (output, target) -> (b,)
Take = Callable[[str, Factor], None]


class PerExampleBackward:
    """Per-example gradients of a model and loss, a parameter at a time.

    The model is run as it is, in its present mode. What one batch taught about its graph serves the next: a
    first batch costs two more runs, on two and three of its examples, and three backward passes of these.
    """

    def __init__(self, model: nn.Module, loss: Loss):
        """`model` may be wrapped by torch.compile or for data parallel work: what is inside is run."""
        self._given, self._model, self._loss = model, unwrapped(model), loss
        self.parameters = trainable_parameters(self._model)
        refuse_half({f"parameter {name}": value.dtype for name, value in self.parameters.items()})
        self.fallbacks: dict[str, str] = {}  # parameter name -> the operation that has no rule
        self._reader = GraphReader(self._losses_without_trace, self.parameters)

    def __call__(self, inputs: Tensor, targets: Tensor, take: Take) -> Tensor:
        """Give `take(name, factor)` every trainable parameter once; the losses `(b,)`.

        The sum of the losses is sent back, and what that would add to `.grad` is not computed.
        """
        losses = self._losses(self._model, inputs, targets)
        if len(losses) == 1:
            self._take_plain(losses, take)
            return losses.detach()
        graph = self._reader.read(losses, inputs, targets)
        deal = _Deal(graph, self.parameters, take, self.fallbacks)
        if graph.meetings:
            send_back(losses, torch.ones_like(losses), graph, deal.arrive)
        deal.unreached(losses)
        return losses.detach()

    def observing(self, inputs: Tensor, targets: Tensor, take: Take) -> Tensor:
        """The same, and add the gradient of the mean loss to `.grad`, bitwise as a plain backward does.

        A model wrapped in DistributedDataParallel shares `.grad` among its processes, as ever; the factors
        are those of this process's examples.
        """
        losses = self._losses(eager(self._given), inputs, targets)
        if len(losses) == 1:
            self._take_plain(losses, take, retain_graph=True)
            losses.mean().backward()
            return losses.detach()
        graph = self._reader.read(losses, inputs, targets)
        deal = _Deal(graph, self.parameters, take, self.fallbacks, scale=len(losses))
        with hooked(graph, deal.arrive, bottom=True):
            losses.mean().backward()
        deal.unreached(losses)
        return losses.detach()

    def _losses(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        check_batch(inputs, targets)
        refuse_autocast(inputs.device)
        with torch.enable_grad():
            # Gradients of the inputs themselves are nobody's wish.
            losses = self._loss(model(inputs.detach()), targets)
        check_losses(losses, len(inputs))
        return losses

    def _losses_without_trace(self, inputs: Tensor, targets: Tensor) -> Tensor:
        with without_trace(self._model):
            return self._losses(self._model, inputs, targets)

    def _take_plain(self, losses: Tensor, take: Take, *, retain_graph: bool = False) -> None:
        """The gradient of a single example is a plain gradient."""
        found = torch.autograd.grad(
            losses.sum(), list(self.parameters.values()), allow_unused=True, retain_graph=retain_graph
        )
        for (name, parameter), gradient in zip(self.parameters.items(), found, strict=True):
            take(
                name, Zero(1, parameter.shape, parameter) if gradient is None else Rows(gradient.unsqueeze(0))
            )


class _Deal:
    """Collects the uses of each parameter during one backward pass, and hands it on when all have come."""

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, nn.Parameter],
        take: Take,
        fallbacks: dict[str, str],
        scale: float = 1,
    ):
        """Gradients are multiplied by `scale`; operations without a rule are written into `fallbacks`."""
        self._parameters, self._take, self._fallbacks, self._scale = parameters, take, fallbacks, scale
        self._meetings: dict[Node, list[Meeting]] = {}
        for meeting in graph.meetings:
            self._meetings.setdefault(meeting.node, []).append(meeting)
        self._awaited = Counter(name for meeting in graph.meetings for name in meeting.parameters)
        self._uses: dict[str, list[Factor]] = {}

    def arrive(self, node: Node, gradients: Sequence[Tensor | None]) -> None:
        """The gradients of the outputs of `node` are there, and what it saved is still there."""
        if self._scale != 1:
            gradients = [value if value is None else value * self._scale for value in gradients]
        for meeting, factor in self._factors(self._meetings[node], gradients):
            for name, part in of_parameters(meeting, factor, self._parameters).items():
                self._add(name, part)

    def _factors(
        self, meetings: Sequence[Meeting], gradients: Sequence[Tensor | None]
    ) -> Iterator[tuple[Meeting, Factor]]:
        """The gradients of each input of one node that is made from parameters."""
        left = []
        for meeting in meetings:
            rule = RULES.get(meeting.node.name())
            factor = rule(meeting, gradients) if rule and gradients[0] is not None else None
            if factor is None:
                self._fallbacks.update(dict.fromkeys(meeting.parameters, meeting.node.name()))
                left.append(meeting)
            else:
                yield meeting, factor
        if left:
            yield from zip(left, fallback(left, gradients), strict=True)

    def _add(self, name: str, factor: Factor) -> None:
        uses = self._uses.setdefault(name, [])
        uses.append(factor)
        if len(uses) == self._awaited[name]:
            self._hand_on(name)

    def _hand_on(self, name: str) -> None:
        uses = self._uses.pop(name)
        self._awaited[name] = 0
        self._take(name, uses[0] if len(uses) == 1 else Sum(uses))

    def unreached(self, losses: Tensor) -> None:
        """What no gradient came to: uses whose gradient is zero, and parameters that are not used."""
        for name, parameter in self._parameters.items():
            if name in self._uses:
                self._hand_on(name)
            elif self._awaited[name] or name not in self._awaited:
                self._take(name, Zero(len(losses), parameter.shape, parameter))
