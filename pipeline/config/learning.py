"""How learning raises GSNR (GSNR: Section 3): sections `regression` and `learning`, an experiment an item."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.config.base import Count, Spec

Steps = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=2)]
Widths = Annotated[tuple[Count, ...], Field(strict=False, min_length=1)]
LinearModel = Literal["logistic", "svm", "svm_crammer_singer"]


def _rising(steps: tuple[int, ...]) -> tuple[int, ...]:
    if any(before >= after for before, after in pairwise(steps)):
        raise ValueError(f"{list(steps)} do not rise; write each once, the smallest first")
    return steps


class Regression(Spec):
    """G-5: y = x0 x1 + noise by a 2-N-1 network, its first layer learning or frozen. Draws its own data."""

    seeds: Count = 5  # draws of the examples and of the initial weights
    hidden: Count = 20  # N
    noise: Annotated[float, Field(ge=0)] = 0.01  # half the width of its uniform distribution
    train_examples: Annotated[int, Field(ge=4)] = 200
    test_examples: Count = 10000
    init_scale: Annotated[float, Field(gt=0)] = 0.1  # of PyTorch's default weights; the output bias is 0
    lr: Annotated[float, Field(gt=0)] = 0.05
    steps: Count = 3000
    every: Count = 50  # steps from one row of the tables to the next


class FirstTerm(Spec):
    """Eq. 28's first term, on a network small enough for a backward pass a weight."""

    widths: Widths = (16, 16)
    steps: Steps = (0, 1, 10, 20, 50, 100)  # at which it is worked out
    examples: Annotated[int, Field(ge=2)] | None = None  # the first so many of the training set; None: all

    _rise = field_validator("steps")(_rising)


class Weights(Spec):
    """G-6: the change of mean gradients beside the weights, under full-batch gradient descent."""

    kind: Literal["weights"]
    variant: str
    seeds: Count = 5  # draws of the initial weights
    widths: Widths = (64, 64, 64)
    lr: Annotated[float, Field(gt=0)] = 0.1
    steps: Annotated[int, Field(ge=2)] = 300
    first_steps: Annotated[int, Field(ge=1)] = 50  # steps of which each has its rows
    every: Count = 10  # steps from one row to the next after them
    first_term: FirstTerm | None = None

    @property
    def recorded(self) -> tuple[int, ...]:
        """The steps that have rows: all of the first, then every so many, and the last."""
        later = range(self.every, self.steps, self.every)
        return tuple(sorted({*range(min(self.first_steps, self.steps) + 1), *later, self.steps}))


class Shallow(Spec):
    """G-7: GSNR of linear models from zero weights, under full-batch gradient descent."""

    kind: Literal["shallow"]
    variant: str
    seeds: Count = 5  # draws of the examples: from zero weights nothing else is drawn
    examples: Annotated[int, Field(ge=8)] = 1000  # of the training set, for each seed
    models: Annotated[tuple[LinearModel, ...], Field(strict=False, min_length=1)] = (
        "logistic",
        "svm",
        "svm_crammer_singer",
    )
    lr: Annotated[float, Field(gt=0)] = 0.1
    checkpoints: Steps = (0, 3, 10, 30, 100, 300)

    _rise = field_validator("checkpoints")(_rising)


Learning = Annotated[Weights | Shallow, Field(discriminator="kind")]
