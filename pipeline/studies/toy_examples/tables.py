"""What is kept of the toy examples: three tables, and the names of their trajectories. Needs no torch."""

from dataclasses import dataclass

STUDY = "examples"  # the stage, and its folder
STEPS, WEIGHTS, HEAT_MAP = "steps.csv", "weights.csv", "heat_map.csv"

SMALL_START = 0.01  # of every weight of Examples 7 and 8, but for what is varied [P]
STARTS = (0.01, 0.1, 0.2, 0.5, 1.0)  # initial w1 of Example 8; the paper names the first three [P]
DEEP = "deep"


def linear(aggregation: str, data: str) -> str:
    """A linear model: `mean` (Example 1), `median` (5) or `m3` (6) on `real` or `random` data."""
    return f"linear-{aggregation}-{data}"


def two_neurons(start: float) -> str:
    """The network of Example 8 from this initial w1."""
    return f"two-neurons-{start:g}"


@dataclass(frozen=True, slots=True)
class StepRow:
    """A trajectory before the update of `step`."""

    trajectory: str
    step: int
    train_loss: float
    test_loss: float
    alpha: float
    m_coherence: float  # over the m = 4 training examples


@dataclass(frozen=True, slots=True)
class WeightRow:
    """One weight of a trajectory before the update of `step`."""

    trajectory: str
    step: int
    weight: str
    value: float
    alpha: float  # coherence of this component alone


@dataclass(frozen=True, slots=True)
class HeatMapRow:
    """The end of a descent of Example 8 from initial `w1` and `w2`."""

    w1: float
    w2: float
    train_loss: float
    test_loss: float
    common: float  # importance of the common feature: its coefficient in the output
    idiosyncratic: float  # the greatest of the idiosyncratic features' coefficients
