"""What a variant does to its examples: noise images, noise labels, permuted pixels.

Everything is a pure function of the root seed, the source's name, the split and the example's index, so the
examples corrupted at one fraction are among those corrupted at a larger one. Order: an image is replaced by
noise first, then its pixels are permuted; labels go their own way. Definitions: Chatterjee & Zielinski 2022
(arXiv 2203.10036), with the choices they leave open in docs/data.md.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Variant
from pipeline.datasets.parts import Place
from pipeline.datasets.scan import PixelStatistics
from pipeline.datasets.subset import lowest
from pipeline.streams import generator, stream_seed, uniform_at


@dataclass(frozen=True)
class Corruption:
    """What happens to the examples of one split of a variant, `(n,)` each."""

    labels: NDArray[np.int64]
    is_noise: NDArray[np.bool_]  # the image is replaced
    is_relabelled: NDArray[np.bool_]  # the label was chosen to be changed; a draw may have come out the same
    is_corrupt: NDArray[np.bool_]  # the image is replaced or the label is another one


@dataclass(frozen=True)
class NoiseImages:
    """The Gaussian images of one split, each a pure function of its index."""

    seed: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def image(self, index: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """Pixels `shape` = (height, width, channels), drawn from N(mean, std) of each channel."""
        random = _counter_based(self.seed, index)
        drawn = random.standard_normal(shape, dtype=np.float32)
        levels = np.float32(self.mean) + np.float32(self.std) * drawn
        return np.rint(levels).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class PixelPermutations:
    """Permutations of the pixel positions of an image; its channels stay together."""

    shared: NDArray[np.int64] | None  # (height * width,), or None: every image has its own
    seed: int

    def apply(self, index: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image `(height, width, channels)` with its pixels in another order."""
        pixels = image.reshape(-1, image.shape[-1])
        order = self.shared
        if order is None:
            order = _counter_based(self.seed, index).permutation(len(pixels))
        return pixels[order].reshape(image.shape)


def corrupt(
    variant: Variant,
    place: Place,
    split: str,
    indices: NDArray[np.int64],
    labels: NDArray[np.int64],
    num_classes: int,
) -> Corruption:
    """Decide the corruption of the examples `indices` with the original `labels`, `(n,)` each.

    Noise images hit train and test alike, noise labels only train (footnote 24 of the paper).
    """
    is_noise = noise_membership(variant, place, split, indices)
    is_relabelled = np.zeros(len(indices), bool)
    new_labels = labels.copy()
    if split == "train":
        is_relabelled = _chosen(variant.noise_labels, indices, place.stream("noise-labels", "which", split))
        if variant.label_noise == "next":
            others = (labels + 1) % num_classes
        else:
            draws = uniform_at(indices, *place.stream("noise-labels", "label", split))
            others = (draws * num_classes).astype(np.int64)
        new_labels[is_relabelled] = others[is_relabelled]
    return Corruption(new_labels, is_noise, is_relabelled, is_noise | (new_labels != labels))


def noise_membership(
    variant: Variant, place: Place, split: str, indices: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of the examples `indices` are replaced by noise: exactly `round(fraction * n)` of them."""
    return _chosen(variant.noise_images, indices, place.stream("noise-images", "which", split))


def noise_images(place: Place, split: str, statistics: PixelStatistics) -> NoiseImages:
    """The noise images of a split of a source."""
    seed = stream_seed(*place.stream("noise-images", "pixels", split))
    return NoiseImages(seed, statistics.mean, statistics.std)


def pixel_permutations(variant: Variant, place: Place, split: str, side: int) -> PixelPermutations | None:
    """The permutations of a split of a variant, or None when pixels stay where they are."""
    if variant.permute_pixels == "none":
        return None
    if variant.permute_pixels == "shared":  # by both splits as well
        return PixelPermutations(
            generator(*place.stream("permute-pixels", "shared")).permutation(side * side), 0
        )
    return PixelPermutations(None, stream_seed(*place.stream("permute-pixels", "each", split)))


def _chosen(fraction: float, indices: NDArray[np.int64], stream: tuple[int | str, ...]) -> NDArray[np.bool_]:
    chosen = np.zeros(len(indices), bool)
    chosen[lowest(uniform_at(indices, *stream), round(fraction * len(indices)))] = True
    return chosen


def _counter_based(seed: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
