"""One forward and one backward pass that gives the gradients of every example."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from pipeline.gradients.checks import check_batch, check_losses, trainable_parameters
from pipeline.gradients.engine.factors import Factor, Sum, Zero
from pipeline.gradients.engine.graph import Graph, GraphReader, Meeting, hooked, send_back
from pipeline.gradients.engine.operations import RULES
from pipeline.gradients.engine.operations.fallback import fallback
from pipeline.gradients.engine.parameters import of_parameters

Loss = Callable[[Tensor, Tensor], Tensor]  # (output, target) -> (b,)
Take = Callable[[str, Factor], None]


class PerExampleBackward:
    """Per-example gradients of a model and loss, a parameter at a time.

    The model is run as it is, in its present mode. What one batch taught about its graph serves the next.
    """

    def __init__(self, model: nn.Module, loss: Loss):
        self._model, self._loss = model, loss
        self.parameters = trainable_parameters(model)
        self.fallbacks: dict[str, str] = {}  # parameter name -> the operation that has no rule
        self._reader = GraphReader(self._losses, self.parameters)

    def __call__(self, inputs: Tensor, targets: Tensor, take: Take) -> Tensor:
        """Give `take(name, factor)` every trainable parameter once; the losses `(b,)`.

        The sum of the losses is sent back, and what that would add to `.grad` is not computed.
        """
        losses = self._losses(inputs, targets)
        graph = self._reader.read(losses, inputs, targets)
        deal = _Deal(graph, self.parameters, take, self.fallbacks)
        if graph.meetings:
            send_back(losses, torch.ones_like(losses), graph, deal.arrive)
        deal.unreached(losses)
        return losses.detach()

    def observing(self, inputs: Tensor, targets: Tensor, take: Take) -> Tensor:
        """The same, and add the gradient of the mean loss to `.grad`, bitwise as a plain backward does."""
        losses = self._losses(inputs, targets)
        graph = self._reader.read(losses, inputs, targets)
        deal = _Deal(graph, self.parameters, take, self.fallbacks, scale=len(losses))
        with hooked(graph, deal.arrive, bottom=True):
            losses.mean().backward(inputs=list(self.parameters.values()))
        deal.unreached(losses)
        return losses.detach()

    def _losses(self, inputs: Tensor, targets: Tensor) -> Tensor:
        check_batch(inputs, targets)
        if inputs.is_floating_point():
            # So that the graph shows what is made from the examples; this gradient is never computed.
            inputs = inputs.detach().requires_grad_()
        losses = self._loss(self._model(inputs), targets)
        check_losses(losses, len(inputs))
        return losses


class _Deal:
    """Collects the uses of each parameter during one backward pass, and hands it on when all have come."""

    def __init__(
        self,
        graph: Graph,
        parameters: dict[str, nn.Parameter],
        take: Take,
        fallbacks: dict[str, str],
        scale: float = 1,
    ):
        self._parameters, self._take, self._fallbacks, self._scale = parameters, take, fallbacks, scale
        self._meetings: dict[Node, list[Meeting]] = {}
        for meeting in graph.meetings:
            self._meetings.setdefault(meeting.node, []).append(meeting)
        self._awaited = Counter(name for meeting in graph.meetings for name in meeting.parameters)
        self._uses: dict[str, list[Factor]] = {}

    def arrive(self, node: Node, gradients: Sequence[Tensor | None]) -> None:
        """The gradients of the outputs of `node` are there, and what it saved is still there."""
        with torch.no_grad():
            if self._scale != 1:
                gradients = [value if value is None else value * self._scale for value in gradients]
            for meeting in self._meetings[node]:
                for name, factor in of_parameters(
                    meeting, self._factor(meeting, gradients), self._parameters
                ).items():
                    self._add(name, factor)

    def _factor(self, meeting: Meeting, gradients: Sequence[Tensor | None]) -> Factor:
        rule = RULES.get(meeting.node.name())
        factor = rule(meeting, gradients) if rule and gradients[0] is not None else None
        if factor is None:
            self._fallbacks.update(dict.fromkeys(meeting.parameters, meeting.node.name()))
            factor = fallback(meeting, gradients)
        return factor

    def _add(self, name: str, factor: Factor) -> None:
        uses = self._uses.setdefault(name, [])
        uses.append(factor)
        if len(uses) == self._awaited[name]:
            del self._uses[name]
            self._awaited[name] = 0
            self._take(name, uses[0] if len(uses) == 1 else Sum(uses))

    def unreached(self, losses: Tensor) -> None:
        """What no gradient came to: uses whose gradient is zero, and parameters that are not used."""
        for name, parameter in self._parameters.items():
            uses = self._uses.pop(name, [])
            if uses:
                self._take(name, uses[0] if len(uses) == 1 else Sum(uses))
            elif self._awaited[name] or name not in self._awaited:
                self._take(name, Zero(len(losses), parameter.shape, parameter))
