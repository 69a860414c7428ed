"""What `inspect-labels` can be told on the command line. Apart from the stage, whose imports take seconds."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class InspectOptions:
    """One of `variant` and `folder` is given; what else is None is chosen by the size of the data."""

    variant: str | None
    folder: Path | None
    out: Path | None
    model: str | None
    image_size: int | None
    epochs: int | None
    folds: int | None
    lr: float | None
    seed: int | None
    top: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--variant", help="a prepared one of params.yaml; its training part is inspected")
    images.add_argument("--folder", type=Path, help="images: CLASS/*, or train/CLASS/* with val/CLASS/*")
    parser.add_argument("--out", type=Path, help="where labels.csv and index.html go (reports/labels/NAME)")
    parser.add_argument("--model", help="a network as in params.yaml (by the size of the images)")
    parser.add_argument(
        "--image-size", type=_at_least(4), help="side in pixels to which a folder's images are brought"
    )
    parser.add_argument("--epochs", type=_at_least(1), help="of each network (by the number of images)")
    parser.add_argument(
        "--folds", type=_at_least(2), help="networks that each leave a part out (3; few images: 5)"
    )
    parser.add_argument("--lr", type=_positive, help="learning rate (0.05)")
    parser.add_argument("--seed", type=_at_least(0), help="root of every random stream (that of params.yaml)")
    parser.add_argument("--top", type=_at_least(1), default=100, help="most images on the page (100)")


def read_options(parsed: argparse.Namespace) -> InspectOptions:
    """What was given."""
    return InspectOptions(**{field.name: getattr(parsed, field.name) for field in fields(InspectOptions)})


def _at_least(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"should be a whole number of {least} or more, found '{text}'")
        return int(text)

    return whole


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"should be a number above 0, found '{text}'")
    return value
