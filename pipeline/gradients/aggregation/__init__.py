"""Many gradients to one: an aggregation a file."""

from pipeline.gradients.aggregation.mean import mean_of_gradients
from pipeline.gradients.aggregation.median import median_of_gradients
from pipeline.gradients.aggregation.winsorized import winsorized_mean

__all__ = ["mean_of_gradients", "median_of_gradients", "winsorized_mean"]
