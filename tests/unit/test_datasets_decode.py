"""Images of every mode become upright RGB pixels of one size."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.datasets.decode import Recipe, to_mode
from tests.image_folders import smooth_image

RED = (200, 30, 40)


def recipe(side: int, shorter: int | None = None, channels: int = 3) -> Recipe:
    return Recipe(side, shorter or side, channels)


def encoded(image: Image.Image, kind: str, **options) -> Image.Image:
    """The image as it comes back out of a file."""
    file = BytesIO()
    image.save(file, kind, **options)
    return Image.open(BytesIO(file.getvalue()))


@pytest.mark.parametrize(
    "image",
    [
        encoded(Image.new("RGB", (9, 9), RED), "PNG"),
        encoded(Image.new("RGB", (9, 9), RED).quantize(4), "PNG"),
        encoded(Image.new("RGBA", (9, 9), (*RED, 128)), "PNG"),
        encoded(Image.new("RGB", (9, 9), RED), "WEBP", lossless=True),
        encoded(Image.new("CMYK", (9, 9), (55, 225, 215, 0)), "JPEG", quality=100),
    ],
    ids=["rgb", "palette", "rgba", "webp", "cmyk"],
)
def test_colour_modes_become_rgb(image):
    pixels = recipe(9).pixels(image)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (9, 9, 3))
    # JPEG's colour transform rounds: up to 2 grey levels on an even area.
    assert np.abs(pixels.astype(int) - RED).max() <= 2


def test_grey_is_repeated_over_the_channels():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = recipe(16).pixels(encoded(Image.fromarray(levels), "PNG"))
    np.testing.assert_array_equal(pixels, np.repeat(levels[:, :, None], 3, axis=2))


def test_sixteen_bits_keep_their_high_byte():
    high = np.arange(256, dtype=np.uint16).reshape(16, 16)
    image = encoded(Image.fromarray(high * 256 + 77), "PNG")
    assert image.mode.startswith("I")
    np.testing.assert_array_equal(recipe(16).pixels(image)[:, :, 0], high)
    # Pillow's own conversion clips: nearly everything comes out white.
    assert (np.asarray(image.convert("L")) == 255).mean() > 0.99


def test_palette_with_transparency_gives_no_warning(recwarn):
    image = Image.new("RGB", (9, 9), RED).quantize(4)
    image.info["transparency"] = b"\x00\xff"
    assert to_mode(image, "RGB").getpixel((4, 4)) == pytest.approx(RED, abs=1)
    assert not recwarn.list


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(orientation, turns):
    upright = smooth_image(3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    # `turns` quarter turns to the left make the picture upright, so it is stored turned the other way.
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright, -turns)))
    pixels = recipe(24).pixels(encoded(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(pixels, upright)


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(5, 60),
    height=st.integers(5, 60),
    side=st.integers(4, 20),
    margin=st.integers(0, 12),
)
def test_geometry_is_torchvisions(width, height, side, margin):
    from torchvision.transforms import CenterCrop, Compose, Resize

    levels = np.random.default_rng(width * 61 + height).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(levels)
    expected = np.asarray(Compose([Resize(side + margin), CenterCrop(side)])(image)).astype(int)
    found = recipe(side, side + margin).pixels(image).astype(int)
    # The same filter taps in one step in place of two; Pillow rounds its fixed-point weights: 1 grey level.
    assert np.abs(found - expected).max() <= 1


def test_a_shifted_crop_is_told_from_the_right_one():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8))
    right = recipe(16, 20).pixels(image).astype(int)
    shifted = np.asarray(image.crop((13, 2, 29, 18))).astype(int)
    assert np.abs(right - shifted).max() > 1


def test_a_very_long_image_is_decoded():
    assert recipe(8).pixels(Image.new("RGB", (50_000, 2), RED)).shape == (8, 8, 3)


def test_truncated_file_raises():
    file = BytesIO()
    Image.fromarray(smooth_image(1, 64)).save(file, "JPEG")
    with pytest.raises(OSError, match="truncated"):
        recipe(16).pixels(Image.open(BytesIO(file.getvalue()[:-200])))
