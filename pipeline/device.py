"""The processor that tensors live on, and the settings under which it repeats itself bit for bit."""

import os
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> "torch.device":
    """The device that params call `name`: auto (a GPU if there is one), cpu or cuda.

    Sets torch to deterministic algorithms. Raises `InputError` for cuda where there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError(
            "params.yaml, device: 'cuda' is asked for, but torch finds no GPU here. Use auto or cpu, or look "
            "at the driver with nvidia-smi."
        )
    use_cuda = available and name != "cpu"
    if use_cuda:
        _repeat_on_cuda()
    return torch.device("cuda" if use_cuda else "cpu")


def set_threads(threads: int) -> None:
    """Give torch `threads` threads; another number gives other bits."""
    import torch

    torch.set_num_threads(threads)


def _repeat_on_cuda() -> None:
    """Full float32 and deterministic kernels, where there are any."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
