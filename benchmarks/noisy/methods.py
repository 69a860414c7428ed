"""The methods that are compared, the settings that each is tuned over, and how tuning goes through them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import product

from pipeline.config import Run

MODEL = {"name": "mlp", "options": {"widths": [256]}}
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
FIRST = {3: slice(1, 5), 33: slice(3, 7)}  # batch size -> the rates that tuning begins with, for every method
RULES = ("end", "best")  # how long is trained: all epochs, or to the best epoch on the held-out part


@dataclass(frozen=True)
class Family:
    """All that is settled about a training run but its learning rate."""

    aggregation: str = "mean"
    loss: str = "cross_entropy"
    batch_size: int = 33
    winsorize_percent: float = 0.0

    def at(self, lr: float) -> "Setting":
        """This family with a learning rate."""
        return Setting(**asdict(self), lr=lr)


@dataclass(frozen=True)
class Setting(Family):
    """What a run is trained with."""

    lr: float = 0.1

    def run(self, epochs: int) -> Run:
        """The run as the project's own training takes it."""
        return Run(variant="noisy", model=MODEL, epochs=epochs, **asdict(self))


# The same batch sizes for all. Winsorising has no use for the smaller one: of three gradients either none is
# clipped, which is the mean, or both outer ones, which is M3.
METHODS = {
    "mean": (Family(batch_size=3), Family(batch_size=33)),
    "mean, batch 3 (A3)": (Family(batch_size=3),),  # the mean of three gradients of one example, as one batch
    "M3": (Family("m3", batch_size=3), Family("m3", batch_size=33)),
    "winsorised": tuple(Family("winsorized", winsorize_percent=percent) for percent in (2.0, 8.0, 25.0)),
    "generalized cross-entropy": (
        Family(loss="generalized_cross_entropy", batch_size=3),
        Family(loss="generalized_cross_entropy", batch_size=33),
    ),
}
BASE = "mean"  # what the others are compared with

Scores = Mapping[str, float]  # rule -> accuracy on the held-out noisy part, mean over the tuning seeds


@dataclass(frozen=True)
class Explored:
    """The settings of a family that tuning looks at, and those of them that it has no score of yet."""

    settings: tuple[Setting, ...]
    missing: tuple[Setting, ...]


def explore(family: Family, score: Callable[[Setting], Scores | None]) -> Explored:
    """Four rates, and beyond them while the best by either rule lies at the edge of what was tried.

    Goes through the same settings whatever else has been scored, so that a resumed search is the same search.
    """
    tried = set(range(len(RATES))[FIRST[family.batch_size]])
    while True:
        settings = tuple(family.at(RATES[index]) for index in sorted(tried))
        scores = {setting: score(setting) for setting in settings}
        missing = tuple(setting for setting in settings if scores[setting] is None)
        if missing:
            return Explored(settings, missing)
        bests = (RATES.index(best_of(settings, scores, rule).lr) for rule in RULES)
        beyond = {best + side for best, side in product(bests, (-1, 1))} & set(range(len(RATES)))
        if beyond <= tried:
            return Explored(settings, ())
        tried |= beyond


def best_of(settings: Iterable[Setting], scores: Mapping[Setting, Scores], rule: str) -> Setting:
    """The setting of the highest score; of equal ones the first."""
    return max(settings, key=lambda setting: scores[setting][rule])
