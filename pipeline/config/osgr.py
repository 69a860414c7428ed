"""One-step generalisation ratios over many training sets (GSNR: Section 2.4, Appendix A)."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Count, Spec

Rising = Field(strict=False, min_length=1)


class OsgrGrid(Spec):
    """A grid of n, noise and width; at each point, in each draw, a network for every training set."""

    seeds: Count = 3  # draws of the training sets, the test set, their noise and the initial weights
    sets: Annotated[int, Field(ge=2)] = (
        10  # training sets, one network each, all from the same initial weights
    )
    examples: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Rising]  # n
    noise: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Rising]  # eta of the toy, share of labels
    widths: Annotated[tuple[Count, ...], Rising]  # N of the toy, p of the others
    test_examples: Annotated[int, Field(ge=2)]
    lr: Annotated[float, Field(gt=0)]
    epochs: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], Rising
    ]  # before whose step both sides are taken

    @model_validator(mode="after")
    def _rises(self) -> "OsgrGrid":
        for name in ("examples", "noise", "widths", "epochs"):
            values = getattr(self, name)
            if any(before >= after for before, after in pairwise(values)):
                raise ValueError(f"{name} {list(values)} do not rise; write each once, the smallest first")
        return self


class OsgrToy(OsgrGrid):
    """2-N-1 ReLU networks on y = x0 x1 + U[-eta, eta], which makes its own data (Appendix A.3)."""

    network: ClassVar[str] = "toy"
    variant: ClassVar[None] = None
    batches: ClassVar[int] = 0  # nothing is imputed


class Osgr(OsgrGrid):
    """Convolutional networks on sets of images of a variant (Section 2.4, Appendix A.2)."""

    network: Literal["cnn", "cnn_bn"]  # MNIST's of Table 2; CIFAR's of Table 3, with batch norm
    variant: str  # where the images come from, both of its parts
    kernel: Count = 5  # cnn: side of its convolutions
    padding: Annotated[int, Field(ge=0)] = 0  # cnn: of its convolutions
    blocks: Count = 4  # cnn_bn: of two convolutions and a pooling
    batches: Annotated[int, Field(ge=4)] = 10  # cnn_bn: parts of a training set, to impute the variance from

    @model_validator(mode="after")
    def _possible(self) -> "Osgr":
        if max(self.noise) > 1:
            raise ValueError(f"noise {max(self.noise):g} is no share of labels; use 0 to 1")
        if self.network == "cnn_bn" and min(self.examples) < 2 * self.batches:
            most = min(self.examples) // 2
            remedy = f"batches: {most} or less, or more examples" if most >= 4 else "8 examples or more"
            raise ValueError(
                f"examples {min(self.examples)} in {self.batches} batches leave fewer than 2 in each, too few"
                f" for batch norm; use {remedy}"
            )
        return self
