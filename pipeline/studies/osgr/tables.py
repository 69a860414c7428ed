"""What is kept of one-step generalisation ratios: a row a draw, grid point and epoch. Needs no torch."""

from dataclasses import dataclass

STUDY, TOY = "osgr", "osgr_toy"  # stages, their sections of params, and their folders
POINTS = "points.csv"


@dataclass(frozen=True, slots=True)
class PointRow:
    """Both sides of eq. 19 before the step of `epoch`, over all training sets of a point."""

    seed: int
    examples: int  # n
    noise: float  # eta of the toy, else the share of labels drawn anew
    width: int  # N of the toy, p of the others
    epoch: int
    lhs: float  # by definition, eq. 23
    linearised: float  # g_D . g_D' over ||g_D||^2
    rhs: float  # from the mean and the variance of gradients, eq. 19 and 24
    train_loss: float
    test_loss: float
    squared_gradient: float  # ||g_D||^2
    variance: float  # sum_j rho_j^2, of one example's gradient
    estimator: str  # of the variance: exact | imputed
