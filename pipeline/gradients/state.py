"""Leaving a network as it was found."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def borrowed(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put the whole model into training or evaluation mode, and give everything back at the end.

    Restored, after an exception too: the mode of each module, every buffer (running statistics bitwise), the
    state of torch's random generators. Gradients are recorded inside whatever the caller's setting. `.grad`
    and `requires_grad` are never written to.
    """
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        with _random_numbers_given_back(model), torch.enable_grad():
            model.train(training)
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, saved in buffers:
                buffer.copy_(saved)


@contextmanager
def without_trace(model: nn.Module) -> Iterator[Callable[[Tensor], Any]]:
    """The model in its present mode, to be run on copies of its buffers; random generators are given back.

    For a run beside another whose graph is still needed: to restore its buffers would spoil that.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with _random_numbers_given_back(model):
        yield partial(torch.func.functional_call, model, buffers) if buffers else model


def _random_numbers_given_back(model: nn.Module) -> AbstractContextManager:
    devices = sorted({parameter.device.index for parameter in model.parameters() if parameter.is_cuda})
    return torch.random.fork_rng(devices=devices)
