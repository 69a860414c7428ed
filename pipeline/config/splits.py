"""Easy and hard examples of a training set."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Count, Spec

VIEWS = ("easy", "hard", "random", "all")  # of a split: SPLIT.easy and so on stand where a variant can


class Fits(Spec):
    """Easy and hard examples fitted one at a time, by plain SGD from the scorers' initial weights (CG-6)."""

    examples: Annotated[int, Field(ge=2)] = 50  # of each kind
    lr: Annotated[float, Field(gt=0)]
    stop_at_loss: Annotated[float, Field(gt=0)] = 0.1  # of the one example
    most_steps: Count = 1000


class Difficulty(Spec):
    """Easy, hard and random examples of a training set, by how the seeds of a run learned them."""

    run: str  # has scores: true; each of its seeds is a scorer
    rule: Literal["thirds", "all_runs", "single_run"] = "thirds"
    checkpoints: Count = 10  # rule: thirds; the first epochs whose hits are averaged
    train_examples: Count  # of each set, all classes alike
    test_examples: Count  # held out of the same training set, of each set
    fits: Fits | None = None
