"""Leaving a network as it was found."""

from collections.abc import Iterator
from contextlib import contextmanager

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
    devices = sorted({parameter.device.index for parameter in model.parameters() if parameter.is_cuda})
    try:
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            model.train(training)
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, saved in buffers:
                buffer.copy_(saved)
