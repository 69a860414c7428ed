"""The page of `inspect-labels`: the most suspicious images with their labels, in one file."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from pipeline.studies.label_errors.table import LabelRow

PIXELATED = 48  # sides up to this are drawn as they are, larger ones as photographs
MOST_PAIRS = 10


@dataclass(frozen=True)
class Card:
    """An image of the page."""

    row: LabelRow
    image: str  # data URI
    is_small: bool  # its pixels are to be seen


def render_labels(
    name: str,
    rows: Sequence[LabelRow],
    thumbnails: Sequence[Image.Image],
    *,
    facts: Mapping[str, str],
    unreadable: Sequence[str],
) -> str:
    """The page on the table `rows`, the most suspicious first, with thumbnails of the first of them.

    `facts` are the lines of its table of settings.
    """
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    doubted = [row for row in rows if row.doubted]
    return environment.get_template("label_page.html.j2").render(
        name=name,
        count=len(rows),
        doubted=len(doubted),
        pairs=Counter((row.given, row.other) for row in doubted).most_common(MOST_PAIRS),
        cards=[_card(row, image) for row, image in zip(rows, thumbnails, strict=False)],
        facts=facts,
        unreadable=unreadable,
    )


def _card(row: LabelRow, image: Image.Image) -> Card:
    is_small = max(image.size) <= PIXELATED
    return Card(row, _data_uri(image, "PNG" if is_small else "JPEG"), is_small)


def _data_uri(image: Image.Image, kind: str) -> str:
    with io.BytesIO() as file:
        image.save(file, kind, **({"quality": 85} if kind == "JPEG" else {}))
        content = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{content}"
