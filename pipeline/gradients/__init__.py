"""Statistics of per-example gradients, exact and imputed, and aggregations. Pure tensors in, numbers out.

Imports neither stages nor MLflow nor params: works alone in a notebook, on any network. See
docs/gradients.md.
"""

from pipeline.gradients.aggregation import mean_of_gradients, median_of_gradients, winsorized_mean
from pipeline.gradients.check import CheckReport, ParameterCheck, check_per_example
from pipeline.gradients.coherence import Coherence, ImputedCoherence, LayerCoherence
from pipeline.gradients.curvature import HessianNorm, hessian_norm, largest_gradient
from pipeline.gradients.delete_one import DeleteOneError, delete_one_error
from pipeline.gradients.directions import dot_products, helpfulness, total_gradient
from pipeline.gradients.errors import GradientError, NotFiniteError
from pipeline.gradients.exact import CoherenceSums, measure_coherence, measure_nested
from pipeline.gradients.exact_gsnr import GsnrSums, measure_gsnr
from pipeline.gradients.gsnr import Gsnr, GsnrSummary, ImputedGsnr, Moments
from pipeline.gradients.imputed import (
    ImputedSums,
    impute_at_two_sizes,
    impute_coherence,
    impute_coherence_over,
    impute_nested,
)
from pipeline.gradients.imputed_gsnr import ImputedMoments, PartitionedMoments, impute_gsnr, impute_gsnr_over
from pipeline.gradients.layers import batch_norm_layers, stochastic_layers
from pipeline.gradients.null_band import NullBand, NullStatistics, null_band
from pipeline.gradients.pairs import GramStatistics, PairStatistics, Stiffness, pairwise
from pipeline.gradients.per_example import per_example_gradients
from pipeline.gradients.robust import WinsorizedGradient, median_of_means, winsorized_gradient
from pipeline.gradients.signs import SignAgreement, SignCounts

__all__ = [
    "CheckReport",
    "Coherence",
    "CoherenceSums",
    "DeleteOneError",
    "GradientError",
    "GramStatistics",
    "Gsnr",
    "GsnrSummary",
    "GsnrSums",
    "HessianNorm",
    "ImputedCoherence",
    "ImputedGsnr",
    "ImputedMoments",
    "ImputedSums",
    "LayerCoherence",
    "Moments",
    "NotFiniteError",
    "NullBand",
    "NullStatistics",
    "PairStatistics",
    "ParameterCheck",
    "PartitionedMoments",
    "SignAgreement",
    "SignCounts",
    "Stiffness",
    "WinsorizedGradient",
    "batch_norm_layers",
    "check_per_example",
    "delete_one_error",
    "dot_products",
    "helpfulness",
    "hessian_norm",
    "impute_at_two_sizes",
    "impute_coherence",
    "impute_coherence_over",
    "impute_gsnr",
    "impute_gsnr_over",
    "impute_nested",
    "largest_gradient",
    "mean_of_gradients",
    "measure_coherence",
    "measure_gsnr",
    "measure_nested",
    "median_of_gradients",
    "median_of_means",
    "null_band",
    "pairwise",
    "per_example_gradients",
    "stochastic_layers",
    "total_gradient",
    "winsorized_gradient",
    "winsorized_mean",
]
