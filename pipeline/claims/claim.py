"""What a claim is before it is judged: where it stands in a paper, and what reads it off the measurements."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.claims.reading import RunRecord, SplitRecord, StudyRecord, study_item

Direction = Literal[">=", "<="]
# Runs, splits and items of studies by the role they play, whole studies by their name.
Records = Mapping[str, RunRecord | SplitRecord | StudyRecord]


@dataclass(frozen=True)
class LeftOut:
    """Of the `total` snapshots of a run, `kept` entered a median; the others did not, for one reason each."""

    total: int
    kept: int
    first_step: int = 0  # the state before training
    first_steps: int = 0  # the initial transient, where it is no part of what is read
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
    deterministic: bool = False  # nothing is drawn: one number is all there is, and seeds are not asked for


class UnreadableError(Exception):
    """The measurements are there, and give no number to judge; the message is the reason."""


def nothing_wrong(spec: Any) -> str:
    """Any item of its study will do."""
    return ""


@dataclass(frozen=True)
class Needs:
    """What has to be true of the run, the split, or the item of a study, in a role."""

    kind: Literal["run", "varied", "split"] = "run"  # varied: a run that has points
    study: str = ""  # an item of this study's section of params, then, and none of `kind`
    wrong: Callable[[Any], str] = nothing_wrong  # why such an item will not do, in words; empty if it will
    measured_on: Literal["train", "test"] | None = None  # the examples on which M is read
    subsets: tuple[str, ...] = ()  # of them, in which M is read
    view: str | None = None  # of a split, that the run trains on
    noise_labels: float | None = None  # of the run's variant
    gsnr: bool = False  # GSNR is read, and so has to be measured

    def record(self, key: str) -> str:
        """The name among the records of the item that params call `key`: sections may use the same names."""
        return study_item(self.study, key) if self.study else key

    @property
    def thing(self) -> str:
        """What params name for the role, in a word or two."""
        return f"item of {self.study}" if self.study else "split" if self.kind == "split" else "run"


@dataclass(frozen=True)
class Built:
    """A claim whose experiment exists: the items and studies it needs, and what reads its checks off them.

    Params name the items, by role. A study whose items do not stand in params is read whole (`studies`); it
    has its own stage and folder, both of its name.
    """

    roles: tuple[str, ...]
    read: Callable[[Records], tuple[Reading, ...]]
    differs: tuple[str, ...] = ()  # fields of a run in which the roles differ by design
    studies: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()  # roles that params may leave out; most are drawn and not judged
    free_roles: bool = False  # params choose the roles' names, and how many there are
    needs: Needs = Needs()  # in every role but
    own_needs: Mapping[str, Needs] = field(default_factory=dict)  # these

    def needs_of(self, role: str) -> Needs:
        """What has to be true of the item in a role."""
        return self.own_needs.get(role, self.needs)

    @property
    def takes_items(self) -> bool:
        """Whether params name runs, splits or items of a study for it."""
        return bool(self.roles) or self.free_roles

    @property
    def reads_coherence(self) -> bool:
        """Whether any of its runs has to be measured."""
        return any(self.needs_of(role).measured_on for role in (*self.roles, *self.optional, ""))


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
