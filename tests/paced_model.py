"""A user's own network whose training a test can slow down, to stop it while it is sure to be at work."""

import os
import time
from pathlib import Path
from typing import Any

from torch import nn

from models import build

SLOW_WHILE = "CONCORD_TEST_SLOW_WHILE"  # in the environment: a pattern of files, from the working directory
PAUSE = 0.04  # seconds before each forward pass, while there is a file that matches


def paced_mlp(input_shape: tuple[int, int, int], num_classes: int, *, widths: tuple[int, ...]) -> nn.Module:
    """The network `mlp`, bit by bit; only the time that it takes can differ."""
    network = build("mlp", {"widths": widths}, input_shape, num_classes)
    network.register_forward_pre_hook(_pause)
    return network


def _pause(*_: Any) -> None:
    pattern = os.environ.get(SLOW_WHILE)
    if pattern and any(Path().glob(pattern)):
        time.sleep(PAUSE)
