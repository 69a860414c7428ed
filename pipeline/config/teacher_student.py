"""Students of drawn and of trained teachers (Luck Matters, sections 5.1 and 5.2)."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.config.base import Count, ItemName, Spec
from pipeline.config.training import Model

Rising = Annotated[tuple[Count, ...], Field(strict=False)]
Positive = Annotated[float, Field(gt=0)]


class Lucky(Spec):
    """Students that begin as those of another point did, but for the winners' weights or all others'.

    A student node that ends as the best match of a teacher node of its layer is a winner; the weights of a
    node are those by which it reads its inputs.
    """

    point: str  # whose students, and whose winners
    winners: Literal["initial", "redrawn"]
    others: Literal["initial", "redrawn", "pruned"]


class Students(Spec):
    """What students of drawn and of trained teachers have in common. `vary` names points side by side."""

    seeds: Count = 5
    seeds_together: Count = 5  # seeds in one program; it decides last bits, and what runs side by side
    factor: Count = 10  # student nodes for each teacher node, in every hidden layer
    batch_norm: Literal["none", "before_relu", "after_relu"] = "none"
    standardise: bool = False  # the targets: each of the teacher's outputs to mean 0, deviation 1
    lr: Positive
    batch_size: Count
    epochs: Count
    evaluate: Rising = ()  # epochs after which students are compared with teachers; none: every one
    evaluation_examples: Annotated[int, Field(ge=2)] = 10_000
    lucky: Lucky | None = None
    vary: dict[ItemName, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(before >= after for before, after in pairwise(self.evaluate)):
            raise ValueError(
                f"evaluate {list(self.evaluate)} does not rise; write each epoch once, the first first"
            )
        if self.evaluate and self.evaluate[-1] > self.epochs:
            raise ValueError(f"evaluate {self.evaluate[-1]} is after the last epoch, {self.epochs}")
        return self

    @model_validator(mode="after")
    def _points_fit(self) -> Self:
        may = ("factor", "batch_norm", "lr", "examples", "lucky")
        for name, changes in self.vary.items():
            fixed = sorted(set(changes) - set(may))
            if fixed:
                raise ValueError(
                    f"vary.{name}: '{fixed[0]}' is the same at every point; {', '.join(may)} may vary"
                )
        try:
            points = self.points() if self.vary else {}
        except ValidationError as error:
            issue = error.errors()[0]
            said = issue["msg"].removeprefix("Value error, ")
            raise ValueError(": ".join(["vary", *map(str, issue["loc"]), said])) from error
        for name, point in points.items():
            if point.lucky is not None:
                _check_lucky(name, point, points)
        return self

    def points(self) -> dict[str, Self]:
        """The students that the item stands for, by the names of their points."""
        if not self.vary:
            return {"": self}
        values = self.model_dump(exclude={"vary"}, exclude_unset=True)
        return {name: type(self).model_validate({**values, **changes}) for name, changes in self.vary.items()}

    @property
    def evaluated(self) -> tuple[int, ...]:
        """Epochs at whose end students are compared with teachers: 0 and the last are always among them."""
        chosen = self.evaluate or range(1, self.epochs + 1)
        return tuple(sorted({0, *chosen, self.epochs}))


class TeacherStudent(Students):
    """Teachers drawn at random, a new one for each seed, on Gaussian inputs."""

    widths: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)]  # of the teacher's hidden layers
    convolutional: bool = False  # 3x3 without padding
    dimension: Count = 20  # of the inputs; convolutional: the side of 1 x side x side
    input_deviation: Positive = 10.0
    outputs: Count = 100
    epoch_examples: Count = 100_000
    examples: Count | None = None  # drawn once and seen again and again; None: new ones all the time

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.epoch_examples < self.batch_size:
            raise ValueError(
                f"epoch_examples {self.epoch_examples} are fewer than batch_size {self.batch_size}"
            )
        if self.examples is not None and self.examples < self.batch_size:
            raise ValueError(f"examples {self.examples} are fewer than batch_size {self.batch_size}")
        if self.convolutional and self.dimension <= 2 * len(self.widths):
            raise ValueError(
                f"dimension {self.dimension} is too small: each of {len(self.widths)} convolutions "
                f"takes 2 off; "
                f"use {2 * len(self.widths) + 1} or more"
            )
        fans = [9 if self.convolutional else self.dimension, *self.widths]
        for width, fan in zip((*self.widths, self.outputs), fans, strict=True):
            if fan < 12 and width > 5**fan - 1:
                raise ValueError(
                    f"a layer of {width} nodes on {fan} inputs: only {5**fan - 1} distinct non-zero "
                    f"rows of five "
                    "values are there. Use fewer nodes or more inputs"
                )
        return self


class TrainedTeacher(Students):
    """One trained teacher, and students of it on the images that it was trained on."""

    variant: str
    weights: str  # of the teacher: a file, such as data/runs/RUN/seed-0/final.pt
    model: Model | None = None  # that the weights are of; None: that of the run in whose folder they lie

    @property
    def run(self) -> str | None:
        """The run whose weights these are; None for a file from elsewhere."""
        parts = self.weights.split("/")
        return parts[2] if parts[:2] == ["data", "runs"] and len(parts) > 3 else None


def _check_lucky(name: str, point: Students, points: dict[str, Any]) -> None:
    source = points.get(point.lucky.point)
    if source is None:
        known = ", ".join(key for key in points if key and key != name) or "none yet"
        raise ValueError(
            f"vary.{name}: lucky.point '{point.lucky.point}' is no point of vary. There are: {known}"
        )
    if source.lucky is not None:
        raise ValueError(
            f"vary.{name}: lucky.point '{point.lucky.point}' is a lucky one itself; name a plain one"
        )
    if (source.factor, source.batch_norm) != (point.factor, point.batch_norm):
        raise ValueError(
            f"vary.{name}: has another factor or batch_norm than '{point.lucky.point}', whose weights "
            f"it begins with"
        )
    if point.lucky.others == "pruned" and point.batch_norm != "none":
        raise ValueError(
            f"vary.{name}: others: pruned needs batch_norm: none, which would revive what is cut off"
        )
