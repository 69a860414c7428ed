"""Leaving a network as it was found."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn


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
def without_trace(model: nn.Module) -> Iterator[None]:
    """Inside, the model in its present mode runs on copies of its buffers; random generators are given back.

    For a run beside another whose graph is still needed: to write its buffers back would spoil that.
    """
    # Not torch.func.functional_call: where two names lead to one module, it leaves a copy behind.
    owned = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    copies = {buffer: buffer.clone() for _, _, buffer in owned}
    try:
        for module, name, buffer in owned:
            setattr(module, name, copies[buffer])
        with _random_numbers_given_back(model):
            yield
    finally:
        for module, name, buffer in owned:
            setattr(module, name, buffer)


def _random_numbers_given_back(model: nn.Module) -> AbstractContextManager:
    devices = sorted({parameter.device.index for parameter in model.parameters() if parameter.is_cuda})
    return torch.random.fork_rng(devices=devices)
