"""Per-example gradients by torch.func, and coherence from them written out: plain, slow, and sure."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]  # (output, target) -> (b,)


def slow_gradients(model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> dict[str, Tensor]:
    """The gradient of each example for each trainable parameter, `(b, *p)`, of the model as it is."""
    model = copy.deepcopy(model)  # functional_call leaves copies behind where modules are shared
    named = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}

    def loss_of_one(values: dict[str, Tensor], one_input: Tensor, one_target: Tensor) -> Tensor:
        output = torch.func.functional_call(model, values, (one_input.unsqueeze(0),))
        return loss(output, one_target.unsqueeze(0)).squeeze(0)

    return torch.func.vmap(torch.func.grad(loss_of_one), in_dims=(None, 0, 0))(named, inputs, targets)


def slow_coherence(rows: Tensor) -> dict[str, float]:
    """M, alpha, unbiased alpha and n_eff of gradients `(m, p)` (arXiv 2203.10036)."""
    rows = rows.double()
    m, norms = len(rows), rows.square().sum(dim=1)
    m_coherence = float(rows.sum(dim=0).square().sum() / norms.sum())
    return {
        "m_coherence": m_coherence,
        "alpha": m_coherence / m,
        "alpha_unbiased": (m_coherence - 1) / (m - 1),
        "n_eff": float(norms.sum() ** 2 / norms.square().sum()),
    }
