"""What a claim is before it is judged: where it stands in a paper, and what reads it off the measurements."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.claims.reading import RunRecord

Direction = Literal[">=", "<="]


@dataclass(frozen=True)
class LeftOut:
    """Of the `total` snapshots of a run, `kept` entered a median; the others did not, for one reason each."""

    total: int
    kept: int
    first_step: int = 0  # the state before training
    fitted: int = 0  # so small a mini-batch loss that coherence is 0/0
    undefined: int = 0  # M is NaN
    few_live: int = 0  # so small an n_eff that a few examples are all of Q


@dataclass(frozen=True)
class Ingredient:
    """A number per seed that a reading was made of, and what was left out of it."""

    label: str
    per_seed: tuple[float, ...]
    left_out: LeftOut | None = None


@dataclass(frozen=True)
class Reading:
    """A named number per seed with the threshold it is held against. NaN where a seed gives none."""

    name: str
    per_seed: tuple[float, ...]
    direction: Direction
    threshold: float
    ingredients: tuple[Ingredient, ...] = ()


class UnreadableError(Exception):
    """The measurements are there, and give no number to judge; the message is the reason."""


@dataclass(frozen=True)
class Built:
    """A claim whose experiment exists: the runs it needs, by role, and what reads its checks off them."""

    roles: tuple[str, ...]
    read: Callable[[Mapping[str, RunRecord]], tuple[Reading, ...]]
    reads_coherence: bool = False  # its runs have to be measured
    differs: tuple[str, ...] = ()  # fields of a run in which the roles differ by design


@dataclass(frozen=True)
class Claim:
    """One line of the ledger. It is either `built`, or made of `parts`, or waits for its `experiment`."""

    id: str
    paper: str
    where: str
    statement: str
    expected: str  # in the paper, at the paper's scale
    experiment: str = ""  # what would have to be built
    built: Built | None = None
    parts: tuple[str, ...] = field(default=())
