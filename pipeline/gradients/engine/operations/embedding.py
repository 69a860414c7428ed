"""Tables whose rows are looked up: token embeddings."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.gradients.engine.factors import Factor
from pipeline.gradients.engine.graph import Meeting
from pipeline.gradients.engine.sparse import SparseRows
from pipeline.gradients.errors import GradientError


def embedding(meeting: Meeting, gradients: Sequence[Tensor | None]) -> Factor | None:
    """y = table[indices]; the padding row has no gradient."""
    node, layout = meeting.node, meeting.layout
    if node._saved_scale_grad_by_freq:
        raise GradientError(
            "an embedding with scale_grad_by_freq=True divides by how often a token is in the batch: the "
            "gradient of one example depends on the others. Set it to False."
        )
    if layout.dim >= gradients[0].ndim - 1:
        return None
    indices = layout.split(node._saved_indices).flatten(1)  # (b, t)
    gradient = layout.split(gradients[0]).flatten(1, -2)  # (b, t, p)
    if node._saved_padding_idx >= 0:
        gradient = gradient * (indices != node._saved_padding_idx).unsqueeze(-1)
    size = int(node._saved_weight_sym_argsize_0)
    return SparseRows(indices, gradient, torch.Size((size, gradient.shape[-1])))
