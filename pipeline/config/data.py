"""Where images come from, and the versions of them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Count, Fraction, PositiveFraction, Spec

SourceKind = Literal[
    "digits", "glyphs", "imagefolder", "mnist", "fashionmnist", "cifar10", "cifar100", "imagenette"
]
NATIVE_SIZE = {"digits": 8, "glyphs": 16, "mnist": 28, "fashionmnist": 28, "cifar10": 32, "cifar100": 32}


class Glyphs(Spec):
    """Knobs of the procedural glyphs (16x16, three curved strokes; SCIENCE of the set in docs/data.md)."""

    classes: Annotated[int, Field(ge=2, le=100)] = 10
    train_examples: Count = 3000
    test_examples: Count = 1000
    modes: Count = 10  # ways of drawing one class
    zipf: Annotated[float, Field(ge=0, le=5)] = 1.2  # exponent of the modes' frequencies: the long tail
    affine_jitter: Annotated[float, Field(ge=0, le=1)] = 0.12
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.06  # share of the side
    pixel_noise: Annotated[float, Field(ge=0, le=1)] = 0.15  # standard deviation; 1 = white minus black
    clutter: Fraction = 0.3  # share of images with a stroke of no meaning


class Source(Spec):
    """Where images come from, before any corruption."""

    kind: SourceKind
    path: str | None = None  # folder, relative to the repository or absolute
    download: bool = False  # torchvision sets only
    image_size: Annotated[int, Field(ge=4, le=4096)] | None = None  # side in pixels; None = native
    resize: Annotated[int, Field(ge=4, le=8192)] | None = None  # shorter side before the centre crop
    classes: Annotated[int, Field(ge=2)] | Annotated[tuple[str, ...], Field(strict=False)] | None = None
    examples_per_class: Count | None = None  # of the training part
    test_examples_per_class: Count | None = None
    fraction: PositiveFraction = 1.0  # of each class, in both parts
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of a folder without train/ and val/
    on_bad_image: Literal["stop", "skip"] = "stop"
    encoding: Literal["auto", "raw", "jpg"] = "auto"  # auto: raw up to 64 pixels a side
    jpg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    glyphs: Glyphs = Glyphs()

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "Source":
        if self.kind in ("imagefolder", "imagenette") and self.image_size is None:
            raise ValueError(f"kind '{self.kind}' needs image_size: the side in pixels of the centre crop")
        if self.kind not in ("digits", "glyphs") and self.path is None:
            raise ValueError(f"kind '{self.kind}' needs path: the folder that holds the images")
        if self.resize is not None and self.image_size is not None and self.resize < self.image_size:
            raise ValueError(f"resize {self.resize} is smaller than image_size {self.image_size}")
        if self.download and self.kind in ("digits", "glyphs", "imagefolder"):
            raise ValueError(f"kind '{self.kind}' has nothing to download: remove 'download'")
        return self

    @property
    def side(self) -> int:
        """Side of the prepared images in pixels."""
        return self.image_size or NATIVE_SIZE[self.kind]


class Variant(Spec):
    """A source with its corruptions; each is drawn per index, so they compose."""

    source: str
    noise_images: Fraction = 0.0  # fraction replaced by Gaussian noise, in train and test
    noise_labels: Fraction = 0.0  # fraction given a new label, in train only
    label_noise: Literal["uniform", "next"] = "uniform"  # new labels: any, or the class after the own one
    permute_pixels: Literal["none", "shared", "each"] = "none"  # one permutation for all, or one an image
