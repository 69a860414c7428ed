"""Training runs."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from pipeline.config.base import Count, ItemName, Spec

Aggregation = Literal["mean", "median", "winsorized", "a3", "m3"]
Loss = Literal["cross_entropy", "generalized_cross_entropy"]


class Model(Spec):
    """A network by name, with the options of its builder (see models/builder.py)."""

    name: str
    options: dict[str, Any] = {}


class Snapshots(Spec):
    """When weights are kept to be measured."""

    # Fraction below the low-water mark of the batch loss; None: that mark keeps none.
    drop: Annotated[float, Field(gt=0, lt=1)] | None = 0.25
    first_steps: Annotated[int, Field(ge=0)] = 3  # steps 0 .. first_steps - 1 are always kept
    cap: Annotated[int, Field(ge=2)] = 24  # most snapshots between the first steps and the end
    epochs: Annotated[tuple[Count, ...], Field(strict=False)] = ()  # that are kept as well, at their end


def _short(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in error.errors()]


class Run(Spec):
    """One training run: a variant, a network, an optimizer, an aggregation of gradients."""

    study: str = "coherent-gradients"
    variant: str  # or a view of one that a split made: SPLIT.easy, .hard, .random, .all
    seeds: Count = 3
    model: Model
    loss: Loss = "cross_entropy"
    loss_q: Annotated[float, Field(gt=0, le=1)] = 0.7  # of generalized_cross_entropy
    lr: Annotated[float, Field(gt=0)]
    batch_size: Count  # examples of one update, all micro-batches together
    epochs: Count
    stop_at_loss: Annotated[float, Field(ge=0)] = 0.0  # training loss that ends the run; 0 = never
    aggregation: Aggregation = "mean"
    micro_batches: Count = 1
    winsorize_percent: Annotated[float, Field(ge=0, le=50)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine", "step"] = "constant"
    lr_drop_epochs: Annotated[tuple[Count, ...], Field(strict=False)] = ()  # schedule: step
    lr_drop_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    train_metrics: Literal["evaluated", "running"] = "evaluated"
    snapshots: Snapshots | None = None
    scores: bool = False  # keep loss, margin and hit of every training example after every epoch
    vary: dict[ItemName, dict[str, Any]] = {}  # name of a point -> the keys in which it differs

    @field_validator("model", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _three_micro_batches(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("aggregation") in ("a3", "m3"):
            if values.get("micro_batches", 3) != 3:
                plain = "mean" if values["aggregation"] == "a3" else "median"
                raise ValueError(
                    f"aggregation '{values['aggregation']}' means 3 micro_batches, found"
                    f" {values['micro_batches']}. Write aggregation: {plain} for another number"
                )
            return {**values, "micro_batches": 3}
        return values

    @model_validator(mode="after")
    def _possible(self) -> "Run":
        if self.batch_size % self.micro_batches:
            raise ValueError(
                f"batch_size {self.batch_size} is not divisible by {self.micro_batches} micro_batches;"
                f" {self.batch_size // self.micro_batches * self.micro_batches or self.micro_batches} is"
            )
        if self.aggregation == "median" and self.micro_batches < 3:
            raise ValueError(f"a median needs at least 3 micro_batches, found {self.micro_batches}")
        if self.aggregation == "winsorized" and self.micro_batches != 1:
            raise ValueError("winsorizing works on single examples: remove micro_batches")
        if self.winsorize_percent and self.aggregation != "winsorized":
            raise ValueError("winsorize_percent needs aggregation: winsorized")
        if (self.schedule == "step") != bool(self.lr_drop_epochs):
            raise ValueError("schedule: step and lr_drop_epochs go together")
        last = max(self.snapshots.epochs, default=0) if self.snapshots else 0
        if last > self.epochs:
            raise ValueError(f"snapshots.epochs has {last}, but there are {self.epochs} epochs")
        if self.loss_q != 0.7 and self.loss == "cross_entropy":
            raise ValueError("loss_q needs loss: generalized_cross_entropy")
        return self

    @model_validator(mode="after")
    def _points_are_runs(self) -> "Run":
        for name, changes in self.vary.items():
            fixed = sorted({"study", "variant", "seeds", "vary"} & set(changes))
            if fixed:
                raise ValueError(f"vary.{name}: '{fixed[0]}' is the same at every point; write another run")
        try:
            self.points()
        except ValidationError as error:
            raise ValueError(f"vary: {'; '.join(_short(error))}") from error
        return self

    def points(self) -> dict[str, "Run"]:
        """The runs that `vary` stands for, by the names of its points; none for a run that stands alone."""
        values = self.model_dump(exclude={"vary"}, exclude_unset=True)
        return {name: Run.model_validate({**values, **changes}) for name, changes in self.vary.items()}

    @property
    def micro_batch_size(self) -> int:
        """Examples behind one input of the aggregation."""
        return self.batch_size // self.micro_batches

    @property
    def takes_median(self) -> bool:
        """Whether micro-batch gradients are combined by the coordinate-wise median."""
        return self.aggregation in ("median", "m3")
