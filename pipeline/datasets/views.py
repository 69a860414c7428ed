"""Views: some of a variant's examples under a name of their own, as positions; images are never copied.

A view lies in a folder beside the variants and stands where a variant can. Its name is that of the split that
made it, a dot, and which of the split's views it is; names of variants hold no dot.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Difficulty
from pipeline.datasets.folders import written_aside
from pipeline.datasets.manifest import load_manifest
from pipeline.datasets.parts import SPLITS
from pipeline.errors import InputError

FILE = "view.json"


@dataclass(frozen=True)
class ViewPart:
    """The train or the test examples of a view."""

    split: str  # of the variant, that they are from
    positions: tuple[int, ...] | None  # in that split; None: all of it
    subsets: Mapping[str, tuple[int, ...]]  # name -> positions in that split, ascending


@dataclass(frozen=True)
class View:
    """Chosen examples of a variant, as it was when they were chosen."""

    variant: str
    dataset_md5: str  # of the variant
    made_from: Mapping[str, Any]  # the split, as params have it; see `split_facts`
    parts: Mapping[str, ViewPart]  # train, test

    @property
    def text(self) -> str:
        """The JSON that stands in the file: the same bytes for the same content."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")) + "\n"

    @property
    def md5(self) -> str:
        """Name of what the view shows: the digest of this text, which holds that of the variant."""
        return hashlib.md5(self.text.encode(), usedforsecurity=False).hexdigest()

    def check_made_from(self, name: str, variant: str, split: Difficulty) -> None:
        """Raise `InputError` if the view `name` was made of another variant, or from other params."""
        if (variant, split_facts(split)) != (self.variant, self.made_from):
            raise InputError(
                f"data/sets/{name}: was made from other params. Run `dvc repro`, or first"
                f" `python -m pipeline split --item {_split_of(name)}`."
            )


def split_facts(split: Difficulty) -> dict[str, Any]:
    """What decides the views of a split: the params without single examples' fits."""
    return split.model_dump(mode="json", exclude={"fits"})


def is_view(folder: Path) -> bool:
    """Whether a view lies, or should lie, in a folder of data/sets; else it is a variant."""
    return "." in folder.name


def dataset_md5(folder: Path) -> str:
    """The digest that names the variant or the view in `folder`."""
    return load_view(folder).md5 if is_view(folder) else load_manifest(folder).md5


def write_view(folder: Path, view: View) -> None:
    """Write `folder`/view.json; what stood there before is replaced at the end."""
    with written_aside(folder) as aside:
        (aside / FILE).write_text(view.text, encoding="utf-8")


def load_view(folder: Path) -> View:
    """The view in `folder`. Raises `InputError` when there is none that can be read."""
    name = f"{folder.name}/{FILE}"
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return View(**{**values, "parts": {split: _part(values["parts"][split]) for split in SPLITS}})
    except FileNotFoundError as error:
        raise InputError(f"{name} is not there. {_remedy(folder)}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{name} cannot be read ({error}). {_remedy(folder)}") from error


def variant_behind(folder: Path, view: View) -> Path:
    """The folder of what `view`, in `folder`, shows. Raises `InputError` if it is no longer what it was."""
    variant = folder.parent / view.variant
    if load_manifest(variant).md5 != view.dataset_md5:
        raise InputError(
            f"data/sets/{folder.name}: '{view.variant}' was prepared anew after this view of it was made. "
            "Run `dvc repro`, which scores and splits its examples again."
        )
    return variant


def _part(values: Mapping[str, Any]) -> ViewPart:
    positions, subsets = values["positions"], values["subsets"]
    return ViewPart(
        split=values["split"],
        positions=None if positions is None else tuple(positions),
        subsets={name: tuple(members) for name, members in subsets.items()},
    )


def _split_of(view_name: str) -> str:
    return view_name.partition(".")[0]


def _remedy(folder: Path) -> str:
    return f"Make it again: dvc repro -f split@{_split_of(folder.name)}"
