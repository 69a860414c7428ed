"""What is measured at the snapshots of a run."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Count, Spec


class Measure(Spec):
    """How the snapshots of a run are measured."""

    examples: Annotated[int, Field(ge=8)] = 500  # m, drawn once per variant and root seed
    splits: Annotated[tuple[Literal["train", "test"], ...], Field(strict=False, min_length=1)] = (
        "train",
        "test",
    )
    estimator: Literal["auto", "exact", "imputed"] = "auto"  # auto: imputed where there is batch norm
    batch_size: Annotated[int, Field(ge=2)] = 20  # k: examples of one batch gradient, when imputed
    partitions: Count = 5  # partitions into batches, averaged by their sums, when imputed
    batch_norm: Literal["train", "eval"] = "train"  # statistics that batch norm uses while measured
    chunk: Count = 100  # examples in one pass, when exact: memory, not results
    subsets: Annotated[tuple[str, ...], Field(strict=False)] = ()  # pristine, corrupt, easy, hard, random
    subset_examples: Annotated[int, Field(ge=8)] | None = None  # m of each subset; None: of the smallest
    sizes: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False)] = ()  # other m, nested
    pairs: Annotated[int, Field(ge=0)] = 0  # examples whose gradients are compared two by two
    bound: bool = False  # constants of the generalisation bound (Theorem 1)
    gsnr: bool = False  # gradient signal-to-noise ratio of every parameter, and agreement of signs
    gsnr_signs: Literal["auto", "eval"] = "auto"  # where gradients are imputed; auto: not available there
    gsnr_maps: bool = False  # keep mean and variance of every parameter: 16 bytes each, a snapshot and split

    @model_validator(mode="after")
    def _possible(self) -> "Measure":
        asked = {
            "subset_examples": self.subset_examples or 0,
            "sizes": max(self.sizes, default=0),
            "pairs": self.pairs,
        }
        for key, number in asked.items():
            if number > self.examples:
                raise ValueError(f"{key} {number} is more than the examples drawn, {self.examples}")
        if self.pairs == 1:
            raise ValueError("pairs 1 is no pair; use 2 or more examples, or 0")
        if self.bound and "train" not in self.splits:
            raise ValueError("bound is of the training examples: add train to splits")
        for key, wanted in {"gsnr_signs": self.gsnr_signs != "auto", "gsnr_maps": self.gsnr_maps}.items():
            if wanted and not self.gsnr:
                raise ValueError(f"{key} goes with GSNR: add gsnr: true, or leave it out")
        if self.estimator == "imputed":
            self.check_batches()
        return self

    def check_batches(self) -> None:
        """Raise `ValueError` if there are too few batches to impute from; under `auto`, ask the network."""
        asked = {"examples": self.examples, "subset_examples": self.subset_examples or self.examples}
        asked["sizes"] = min(self.sizes, default=self.examples)
        for key, number in asked.items():
            if number // self.batch_size < 4:
                smaller, larger = f"batch_size {number // 4} or less", f"{4 * self.batch_size} or more"
                raise ValueError(
                    f"{key} {number} give fewer than 4 batches of batch_size {self.batch_size};"
                    f" use {smaller if number >= 8 else larger}"
                )

    def check_single_examples(self, layer: str) -> None:
        """Raise `ValueError` if gradients of single examples are asked for which batch norm couples."""
        for key, wanted in {"pairs": self.pairs > 0, "bound": self.bound}.items():
            if wanted and self.batch_norm == "train":
                raise ValueError(
                    f"{key} needs gradients of single examples, which batch norm (layer '{layer}') couples;"
                    " remove it, or use batch_norm: eval, which measures another function of the weights"
                )
