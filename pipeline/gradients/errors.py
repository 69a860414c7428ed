"""The errors of this package."""


class GradientError(ValueError):
    """A network, a loss or batches from which the statistic asked for cannot be had; the message says why."""


class NotFiniteError(GradientError):
    """A gradient holds NaN or infinity, as those of a run that diverged do."""
