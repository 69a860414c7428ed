"""From an operation of autograd's graph to the per-example gradients of its parameter.

Adding an operation is one line in `RULES`: the name of its node, and a function of `(meeting, gradients)`
that gives a `Factor` for the value on the meeting's edge, or None where it does not apply. Everything else
goes to `fallback`.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from pipeline.gradients.engine.factors import Factor
from pipeline.gradients.engine.graph import Meeting
from pipeline.gradients.engine.operations import (
    broadcasting,
    convolution,
    embedding,
    matrices,
    normalisation,
)

Rule = Callable[[Meeting, Sequence[Tensor | None]], Factor | None]

RULES: dict[str, Rule] = {
    "AddmmBackward0": matrices.addmm,
    "MmBackward0": matrices.mm,
    "BmmBackward0": matrices.bmm,
    "ConvolutionBackward0": convolution.convolution,
    "EmbeddingBackward0": embedding.embedding,
    "NativeLayerNormBackward0": normalisation.layer_norm,
    "NativeGroupNormBackward0": normalisation.group_norm,
    "NativeBatchNormBackward0": normalisation.batch_norm,
    "AddBackward0": broadcasting.add,
    "SubBackward0": broadcasting.subtract,
    "MulBackward0": broadcasting.multiply,
    "ExpandBackward0": broadcasting.expand,
    "RepeatBackward0": broadcasting.repeat,
} | dict.fromkeys(
    (
        "AddcmulBackward0",
        "DivBackward0",
        "LerpBackward1",
        "MaximumBackward0",
        "MinimumBackward0",
        "PowBackward1",
        "PreluKernelBackward0",
        "WhereBackward0",
    ),
    broadcasting.elementwise,
)
