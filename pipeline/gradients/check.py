"""The first thing to run on a new model: are its per-example gradients those of a loop over examples?"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.gradients.checks import check_losses, trainable_parameters
from pipeline.gradients.engine import Factor, Loss
from pipeline.gradients.example_pass import BatchNorm, ExamplePass
from pipeline.gradients.state import borrowed

AS_GOOD = 10  # times the error of a loop in the model's own type: a batch is summed in another order
FLOOR = 100  # times the rounding of the model's type: an error that is always good enough


@dataclass(frozen=True)
class ParameterCheck:
    """Largest errors over the examples, relative to the largest true value, of one parameter tensor."""

    name: str
    layer: str
    way: str  # how its gradients are kept, or "fallback: OPERATION"
    norms: float  # error of ||g_i||^2
    mean: float  # error of the mean gradient, relative to the root mean square gradient
    loop_norms: float  # the same for a loop over examples in the model's own type
    loop_mean: float
    limit: float  # relative error from which the parameter is not ok, whatever the loop's

    @property
    def ok(self) -> bool:
        """Whether both errors are small, or about those of the loop. Not if one is NaN."""
        pairs = ((self.norms, self.loop_norms), (self.mean, self.loop_mean))
        return all(error <= max(self.limit, AS_GOOD * loop) for error, loop in pairs)


@dataclass(frozen=True)
class CheckReport:
    """What `check_per_example` found; as a string, a table with a verdict."""

    parameters: tuple[ParameterCheck, ...]
    reference: str  # the type of the loop that counts as true
    num_examples: int

    @property
    def ok(self) -> bool:
        """Whether every parameter is."""
        return all(one.ok for one in self.parameters)

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Parameters without a fast rule: exact as well, but slow."""
        return tuple(one.name for one in self.parameters if one.way.startswith("fallback"))

    def __str__(self) -> str:
        head = ("parameter", "way", "norms", "mean", "loop: norms", "mean", "")
        rows = [
            (
                one.name,
                one.way,
                *(f"{error:.1e}" for error in (one.norms, one.mean, one.loop_norms, one.loop_mean)),
                "ok" if one.ok else "WRONG",
            )
            for one in self.parameters
        ]
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        ]
        return "\n".join([*lines, self._verdict()])

    def _verdict(self) -> str:
        wrong = [one.name for one in self.parameters if not one.ok]
        if wrong:
            return (
                f"WRONG: the gradients of {', '.join(wrong)} are not those of a loop over "
                f"{self.num_examples} examples in {self.reference}. Please report the "
                "model; until then freeze these parameters."
            )
        slow = f"; {len(self.fallbacks)} parameters without a fast rule" if self.fallbacks else ""
        return f"ok: as a loop over {self.num_examples} examples in {self.reference}{slow}"


def check_per_example(
    model: nn.Module, batch: tuple[Tensor, Tensor], loss: Loss, *, batch_norm: BatchNorm = "refuse"
) -> CheckReport:
    """Compare the gradients of the examples of `batch` with a loop of ordinary backward passes.

    ```python
    print(check_per_example(model, (inputs[:8], targets[:8]), loss))
    ```

    A few examples are enough. The loop that counts as true runs in float64 on a copy of the model; where the
    model cannot be copied or does not run in float64, it runs on the model itself. Errors are relative and
    measured beside those of a loop in the model's own type, which rounds as well. The model is left as it
    was. Raises `GradientError` where `measure_coherence` does.
    """
    inputs, targets = batch
    run = ExamplePass(model, loss, batch_norm, instead="impute_coherence(...)")
    found: dict[str, _Gradients] = {}
    ways: dict[str, str] = {}

    def take(name: str, factor: Factor) -> None:
        norms, (total,) = factor.norms_and_totals([slice(None)])
        found[name] = _Gradients(factor.dtype, norms.cpu(), total.double().cpu().flatten())
        ways[name] = type(factor).__name__

    run.examples(inputs, targets, take)
    training = batch_norm == "refuse"
    own = _loop(model, inputs, targets, loss, training)
    true, reference = _in_float64(model, inputs, targets, loss, training) or (own, _type_of(model))
    ways.update({name: f"fallback: {operation}" for name, operation in run.fallbacks.items()})
    return CheckReport(
        tuple(
            _compare(name, run.layer_of[name], ways[name], found[name], own[name], true[name])
            for name in run.parameters
        ),
        reference,
        len(inputs),
    )


@dataclass(frozen=True)
class _Gradients:
    """Of one parameter, float64 on the CPU."""

    dtype: torch.dtype  # in which they were computed
    norms: Tensor  # (b,) ||g_i||^2
    total: Tensor  # (p,) sum g_i


def _loop(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, training: bool
) -> dict[str, _Gradients]:
    parameters = trainable_parameters(model)
    norms: dict[str, list[Tensor]] = {name: [] for name in parameters}
    totals = {name: torch.zeros(value.numel(), dtype=torch.float64) for name, value in parameters.items()}
    with borrowed(model, training=training):
        for one, target in zip(inputs.split(1), targets.split(1), strict=True):
            losses = loss(model(one), target)
            check_losses(losses, 1)
            gradients = torch.autograd.grad(losses.sum(), list(parameters.values()), materialize_grads=True)
            for name, gradient in zip(parameters, gradients, strict=True):
                flat = gradient.detach().cpu().double().flatten()
                norms[name].append(flat.dot(flat))
                totals[name] += flat
    return {
        name: _Gradients(value.dtype, torch.stack(norms[name]), totals[name])
        for name, value in parameters.items()
    }


def _in_float64(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, training: bool
) -> tuple[dict[str, _Gradients], str] | None:
    """None where a copy of the model cannot be had, or does not run, in float64."""
    try:
        wide = copy.deepcopy(model).cpu().double()
        inputs, targets = (
            value.cpu().double() if value.is_floating_point() else value.cpu() for value in (inputs, targets)
        )
        return _loop(wide, inputs, targets, loss, training), "float64"
    except (RuntimeError, TypeError, NotImplementedError):
        # torch refuses mixed types and missing kernels so, and copy what cannot be copied; the network itself
        # has just run in its own type. The report names the type of the loop that counts.
        return None


def _compare(
    name: str,
    layer: str,
    way: str,
    found: _Gradients,
    own: _Gradients,
    true: _Gradients,
) -> ParameterCheck:
    return ParameterCheck(
        name=name,
        layer=layer,
        way=way,
        norms=_error(found.norms, true.norms, true.norms.abs().max()),
        mean=_error(found.total, true.total, true.norms.sum().sqrt()),
        loop_norms=_error(own.norms, true.norms, true.norms.abs().max()),
        loop_mean=_error(own.total, true.total, true.norms.sum().sqrt()),
        limit=FLOOR * torch.finfo(found.dtype).eps,
    )


def _error(found: Tensor, true: Tensor, scale: Tensor) -> float:
    largest = float((found - true).norm(p=torch.inf)) if len(found) else 0.0
    return largest / float(scale) if scale or largest else 0.0


def _type_of(model: nn.Module) -> str:
    return str(next(iter(trainable_parameters(model).values())).dtype).removeprefix("torch.")
