"""One-step generalisation ratios over many training sets (GSNR: Section 2.4, Appendix A)."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Count, Spec

Network = Literal["toy", "cnn", "cnn_bn"]


class Osgr(Spec):
    """A grid of n, noise and width; at each point, in each draw, a network for every training set."""

    network: Network  # toy: 2-N-1 on y = x0 x1 + U[-eta, eta]; cnn: MNIST's; cnn_bn: CIFAR's, with batch norm
    variant: str | None = None  # where the images come from; none for the toy
    seeds: Count = 3  # draws of the training sets, the test set, their noise and the initial weights
    sets: Annotated[int, Field(ge=2)] = (
        10  # training sets, one network each, all from the same initial weights
    )
    examples: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False, min_length=1)]  # n
    noise: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(strict=False, min_length=1)]
    widths: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)]  # N of the toy, p of the others
    test_examples: Annotated[int, Field(ge=2)]
    lr: Annotated[float, Field(gt=0)]
    epochs: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=1)]
    kernel: Annotated[int, Field(ge=1)] = 5  # cnn: side of its convolutions
    padding: Annotated[int, Field(ge=0)] = 0  # cnn: of its convolutions
    blocks: Count = 4  # cnn_bn: of two convolutions and a pooling
    batches: Annotated[int, Field(ge=4)] = 10  # cnn_bn: parts of a training set, to impute the variance from

    @model_validator(mode="after")
    def _possible(self) -> "Osgr":
        if (self.network == "toy") != (self.variant is None):
            needs = (
                "draws its own data: remove variant" if self.variant else "needs variant: a key of variants"
            )
            raise ValueError(f"network '{self.network}' {needs}")
        if self.network != "toy" and max(self.noise) > 1:
            raise ValueError(f"noise {max(self.noise):g} is no share of labels; use 0 to 1")
        for name in ("examples", "noise", "widths", "epochs"):
            values = getattr(self, name)
            if any(before >= after for before, after in pairwise(values)):
                raise ValueError(f"{name} {list(values)} do not rise; write each once, the smallest first")
        if self.network == "cnn_bn" and min(self.examples) < 2 * self.batches:
            raise ValueError(
                f"examples {min(self.examples)} in {self.batches} batches leave fewer than 2 in each, too few"
                f" for batch norm; use batches: {max(4, min(self.examples) // 2)} or less, or more examples"
            )
        return self
