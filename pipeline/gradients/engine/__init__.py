"""Per-example gradients from one backward pass, read off autograd's graph."""

from pipeline.gradients.engine.backward import Loss, PerExampleBackward
from pipeline.gradients.engine.factors import Factor, Moments

__all__ = ["Factor", "Loss", "Moments", "PerExampleBackward"]
