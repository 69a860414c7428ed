"""What every measurement asks of a network, a loss and a batch before it believes them."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from pipeline.gradients.errors import GradientError, NotFiniteError
from pipeline.gradients.layers import batch_norm_layers, stochastic_layers

WRAPPERS = (DataParallel, DistributedDataParallel)
HALF = (torch.float16, torch.bfloat16)
HIDING = {
    "CheckpointFunctionBackward": "activation checkpointing, with use_reentrant=True. Turn it off while "
    "measuring.",
    "CompiledFunctionBackward": "a part compiled by torch.compile. Measure under "
    "torch.compiler.set_stance('force_eager').",
}


def refuse_batch_norm(model: nn.Module, instead: str = "impute_coherence(...)") -> None:
    """Raise if layers of `model` couple the examples of a batch, and say what to use instead."""
    names = batch_norm_layers(model)
    if names:
        raise GradientError(
            f"layers {', '.join(names)} are batch norm: in training mode the loss of one example depends on "
            f"the others of its batch, so there are no per-example gradients. Use {instead}, or "
            "batch_norm='eval' for the network as it is in evaluation mode."
        )


def refuse_batch_statistics(model: nn.Module, instead: str = "impute_coherence(...)") -> None:
    """Raise if batch norm of `model` has no running statistics: it always uses those of the batch."""
    names = [
        name
        for name, module in model.named_modules()
        if name in batch_norm_layers(model) and module.running_mean is None
    ]
    if names:
        raise GradientError(
            f"layers {', '.join(names)} are batch norm without running statistics, which normalises by the "
            f"batch in evaluation mode as well: there are no per-example gradients. Use {instead}."
        )


def refuse_stochastic(model: nn.Module) -> None:
    """Raise if layers of `model` draw random numbers in training mode."""
    names = stochastic_layers(model)
    if names:
        raise GradientError(
            f"layers {', '.join(names)} drop units at random, so that the gradient of an example is not one "
            "vector. Set their rates to 0, or measure in evaluation mode with batch_norm='eval'."
        )


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside torch.compile, DataParallel and DistributedDataParallel."""
    while True:
        model = eager(model)
        if not isinstance(model, WRAPPERS):
            return model
        model = model.module


def eager(model: nn.Module) -> nn.Module:
    """The network that torch.compile(model) wraps, or the model itself."""
    return getattr(model, "_orig_mod", model)


def refuse_operations(names: Iterable[str]) -> None:
    """Raise if autograd's graph, given by the names of its nodes, hides parameters from the reader."""
    for name in names:
        if name in HIDING:
            raise GradientError(f"operation {name} hides parameters from autograd's graph: {HIDING[name]}")


def refuse_half(dtypes: Mapping[str, torch.dtype]) -> None:
    """Raise if one of these, by name, has fewer digits than float32."""
    half = {where: dtype for where, dtype in dtypes.items() if dtype in HALF}
    if half:
        where, dtype = next(iter(half.items()))
        raise GradientError(
            f"{where} is {dtype}: two or three digits are too few for statistics of small differences. "
            "Measure a copy in float32, copy.deepcopy(model).float(), outside torch.autocast."
        )


def refuse_autocast(device: torch.device) -> None:
    """Raise inside torch.autocast."""
    if torch.is_autocast_enabled(device.type):
        raise GradientError(
            f"torch.autocast is on for {device.type}: its two or three digits are too few for statistics of "
            f"small differences. Measure outside it, or under torch.autocast('{device.type}', enabled=False)."
        )


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that count, by name, each once. Raises if there is none."""
    trainable = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if not trainable:
        raise GradientError("the model has no trainable parameter: requires_grad is False for all of them.")
    return trainable


def check_losses(losses: Tensor, num_examples: int) -> None:
    """Refuse a loss that is not one number for each example."""
    if losses.shape != (num_examples,):
        raise GradientError(
            f"loss(output, target) should give one loss for each example, shape ({num_examples},), found "
            f"{tuple(losses.shape)}. Give the un-averaged loss: cross_entropy with reduction='none'."
        )


def check_batch(inputs: Tensor, targets: Tensor) -> None:
    """Refuse an empty batch, and inputs and targets that do not pair up."""
    if len(inputs) != len(targets):
        raise GradientError(f"a batch has {len(inputs)} inputs and {len(targets)} targets.")
    if len(inputs) == 0:
        raise GradientError("a batch has no example.")


def check_finite(layer: str, gradients: Tensor) -> None:
    """Refuse NaN and infinity in the gradients of `layer`."""
    if not bool(gradients.isfinite().all()):
        raise NotFiniteError(
            f"layer {layer}: a gradient is not finite. The weights or the inputs hold NaN or infinity, or "
            "the loss overflows."
        )
