"""From an image of any mode to uint8 pixels of one size.

The geometry is torchvision's `Resize` (shorter side, bilinear with antialiasing) and `CenterCrop`, done in
one step so that an image of 10 x 100,000 pixels needs no huge intermediate.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps


@dataclass(frozen=True)
class Recipe:
    """How every image of a source becomes pixels `(side, side, channels)`."""

    side: int
    shorter_side: int  # of the resized image, before its centre is cut out; at least `side`
    channels: int  # 1 or 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.side, self.side, self.channels

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Decode, turn upright as EXIF says, convert, resize, crop. Raises what Pillow raises."""
        upright = ImageOps.exif_transpose(image)
        cut = _resize_and_crop(to_mode(upright, "L" if self.channels == 1 else "RGB"), self)
        return np.asarray(cut).reshape(self.shape)


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Any mode to 'L' or 'RGB', 8 bits. Alpha is dropped, as torchvision's image folder drops it."""
    if image.mode.startswith(("I", "F")):
        # Pillow would clip 16 bits at 255. The high byte is also what it keeps of 16-bit colour.
        high = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(high.clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)


def _resize_and_crop(image: Image.Image, recipe: Recipe) -> Image.Image:
    shorter = min(image.size)
    # Sizes after the resize and offsets of the crop, rounded the way torchvision rounds them.
    resized = [recipe.shorter_side * length // shorter for length in image.size]
    offsets = [round((length - recipe.side) / 2) for length in resized]
    scales = [before / after for before, after in zip(image.size, resized, strict=True)]
    left, top = (offset * scale for offset, scale in zip(offsets, scales, strict=True))
    right, bottom = (
        min((offset + recipe.side) * scale, length)  # a rounding error beyond the edge is refused by Pillow
        for offset, scale, length in zip(offsets, scales, image.size, strict=True)
    )
    box = (left, top, right, bottom)
    return image.resize((recipe.side, recipe.side), Image.Resampling.BILINEAR, box=box)
