"""Statistics of per-example gradients, exact and imputed, and aggregations. Pure tensors in, numbers out.

Imports neither stages nor MLflow nor params: works alone in a notebook, on any network. See
docs/gradients.md.
"""

from pipeline.gradients.aggregation import mean_of_gradients, median_of_gradients, winsorized_mean
from pipeline.gradients.coherence import Coherence, ImputedCoherence, LayerCoherence
from pipeline.gradients.errors import GradientError, NotFiniteError
from pipeline.gradients.exact import CoherenceSums, measure_coherence
from pipeline.gradients.gsnr import Gsnr, GsnrSummary, ImputedGsnr, Moments
from pipeline.gradients.imputed import (
    ImputedSums,
    impute_at_two_sizes,
    impute_coherence,
    impute_coherence_over,
)
from pipeline.gradients.imputed_gsnr import ImputedMoments, impute_gsnr
from pipeline.gradients.layers import batch_norm_layers, stochastic_layers
from pipeline.gradients.per_example import per_example_gradients

__all__ = [
    "Coherence",
    "CoherenceSums",
    "GradientError",
    "Gsnr",
    "GsnrSummary",
    "ImputedCoherence",
    "ImputedGsnr",
    "ImputedMoments",
    "ImputedSums",
    "LayerCoherence",
    "Moments",
    "NotFiniteError",
    "batch_norm_layers",
    "impute_at_two_sizes",
    "impute_coherence",
    "impute_coherence_over",
    "impute_gsnr",
    "mean_of_gradients",
    "measure_coherence",
    "median_of_gradients",
    "per_example_gradients",
    "stochastic_layers",
    "winsorized_mean",
]
