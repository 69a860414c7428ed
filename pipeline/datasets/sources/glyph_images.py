"""How one glyph is drawn: curved strokes on a 16x16 grid, bent, shifted, cluttered and noisy.

A class has several modes, ways of drawing it, whose frequencies fall like a power law. All modes of a class
share one stroke. The rare modes make a long tail *by design*: glyphs show a mechanism, they prove nothing
about natural images.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Glyphs
from pipeline.streams import generator

SIDE = 16  # pixels
STROKES = 3  # of one mode, the class's stroke among them
PEN = 0.045  # standard deviation of a stroke's profile, in sides
BLACK, WHITE = 0.15, 0.85  # of paper and ink, in grey levels of 0 .. 1: room for the noise on both sides
POINTS = 24  # on a stroke: closer together than a pixel

Stroke = NDArray[np.float64]  # (3, 2) control points of a quadratic Bezier curve, (x, y) in sides


def draw_glyph(knobs: Glyphs, root_seed: int, part: str, label: int, index: int) -> NDArray[np.uint8]:
    """Image `index` of a part ('train' or 'val'), `(SIDE, SIDE)`; a pure function of its arguments."""
    random = generator(root_seed, "glyphs", part, index)
    mode = random.choice(knobs.modes, p=_mode_frequencies(knobs.modes, knobs.zipf))
    strokes = _mode_strokes(root_seed, label, int(mode))
    bend = np.eye(2) + knobs.affine_jitter * random.standard_normal((2, 2))
    shift = knobs.shift * random.standard_normal(2)
    strokes = (strokes - 0.5) @ bend.T + 0.5 + shift
    clutter = _random_strokes(random, 1)
    if random.random() < knobs.clutter:
        strokes = np.concatenate([strokes, clutter])
    levels = BLACK + (WHITE - BLACK) * _ink(strokes)
    levels = levels + knobs.pixel_noise * (WHITE - BLACK) * random.standard_normal((SIDE, SIDE))
    return np.rint(255 * levels).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def _mode_frequencies(modes: int, exponent: float) -> NDArray[np.float64]:
    weights = np.arange(1, modes + 1) ** -exponent
    return weights / weights.sum()


@lru_cache(maxsize=2048)
def _mode_strokes(root_seed: int, label: int, mode: int) -> NDArray[np.float64]:
    """The strokes of one mode, `(STROKES, 3, 2)`: the first is the same in all modes of the class."""
    shared = _random_strokes(generator(root_seed, "glyphs", "class", label), 1)
    own = _random_strokes(generator(root_seed, "glyphs", "class", label, "mode", mode), STROKES - 1)
    return np.concatenate([shared, own])


def _random_strokes(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    return random.uniform(0.12, 0.88, (count, 3, 2))


def _ink(strokes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ink of each pixel, 0 .. 1: a Gaussian of its distance to the nearest stroke."""
    time = np.linspace(0, 1, POINTS)
    bernstein = np.stack([(1 - time) ** 2, 2 * time * (1 - time), time**2])  # (3, POINTS)
    points = np.einsum("skd,kp->spd", strokes, bernstein).reshape(-1, 2)
    centres = (np.arange(SIDE) + 0.5) / SIDE
    squared = (points[:, 0, None, None] - centres[None, None, :]) ** 2
    squared = squared + (points[:, 1, None, None] - centres[None, :, None]) ** 2
    return np.exp(-squared.min(axis=0) / (2 * PEN**2))
