"""The tables that a split leaves. Light: whoever reads them needs no torch."""

from dataclasses import dataclass

SCORES, FITS = "scores.csv", "fits.csv"


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One example of the scorers' training split; what its scores mean is said in `scores.Learning`."""

    position: int  # in the split
    index: int  # in the source's part, before any subset
    label: int
    first_learned: float
    last_learned: float
    forgetting_events: float
    mean_correctness: float
    mean_margin: float
    held_out: bool  # cut off before any set was drawn: its sets test with it
    set: str  # easy | hard | none
    random: bool  # drawn into the control, whatever its set


@dataclass(frozen=True, slots=True)
class FitRow:
    """One example fitted alone, by one scorer's network from its initial weights."""

    seed: int
    set: str  # easy | hard
    index: int
    label: int
    steps: int  # of gradient descent; the most that were allowed where it was not fitted
    fitted: bool
