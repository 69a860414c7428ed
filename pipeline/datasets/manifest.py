"""The manifest beside the betons: what they were made from, what they hold, what was left out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.config import Source, Variant
from pipeline.datasets.parts import SPLITS, FileNote
from pipeline.errors import InputError

FILE = "manifest.json"
Noise = Literal["none", "stored", "on load"]


@dataclass(frozen=True)
class PartManifest:
    """One beton and what it holds."""

    file: str
    bytes: int
    sha256: str
    available: int  # examples of the source's part, before the subset
    examples: int
    per_class: Mapping[str, int]  # by original label
    corrupt: int
    noise_images: int
    relabelled: int  # labels drawn again; some came out the same
    skipped: tuple[FileNote, ...]


@dataclass(frozen=True)
class Manifest:
    """A prepared variant."""

    source_name: str
    source: Mapping[str, Any]
    variant: Mapping[str, Any]
    root_seed: int
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]  # channels, height, width
    mean: tuple[float, ...]  # of the pristine training images by channel, in grey levels of 0 .. 255
    std: tuple[float, ...]
    encoding: Literal["raw", "jpg"]
    noise: Noise
    parts: Mapping[str, PartManifest]  # train, test
    ignored: tuple[FileNote, ...]
    ffcv: str

    @property
    def text(self) -> str:
        """The JSON that stands in the file: the same bytes for the same content."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def md5(self) -> str:
        """Name of the whole variant: the digest of this text, which holds the betons' own (DVC's digest)."""
        return hashlib.md5(self.text.encode(), usedforsecurity=False).hexdigest()

    def check_made_from(
        self, name: str, source: Source, variant: Variant, root_seed: int, root: Path
    ) -> None:
        """Raise `InputError` if the variant `name` was prepared from other params than these."""
        wanted = (source_facts(source, root), variant_facts(variant), root_seed)
        if wanted != (self.source, self.variant, self.root_seed):
            raise InputError(
                f"data/sets/{name}: was prepared from other params. Run `dvc repro`, or first"
                f" `python -m pipeline prepare --item {name}`."
            )


def source_facts(source: Source, repository: Path) -> dict[str, Any]:
    """The source as params have it, but with no path of this machine: what lies outside keeps its name."""
    facts = source.model_dump(mode="json", exclude=set() if source.kind == "glyphs" else {"glyphs"})
    if source.path is not None:
        path = (repository / source.path).resolve()
        inside = path.is_relative_to(repository.resolve())
        facts["path"] = path.relative_to(repository.resolve()).as_posix() if inside else path.name
    return facts


def variant_facts(variant: Variant) -> dict[str, Any]:
    """The variant as params have it."""
    return variant.model_dump(mode="json")


def file_sha256(path: Path) -> str:
    """Digest of a file that need not fit in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared variant. Raises `InputError` when there is none that can be read."""
    path = folder / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        parts = {split: _part(values["parts"][split]) for split in SPLITS}
        tuples = {key: tuple(values[key]) for key in ("classes", "input_shape", "mean", "std")}
        return Manifest(**{**values, **tuples, "parts": parts, "ignored": _notes(values["ignored"])})
    except FileNotFoundError as error:
        raise InputError(f"{folder.name}/{FILE} is not there. {remedy(folder)}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder.name}/{FILE} cannot be read ({error}). {remedy(folder)}") from error


def check_beton(folder: Path, split: str, manifest: Manifest) -> Path:
    """The beton of a split, once its size and digest are what the manifest says; else `InputError`.

    FFCV reads a file with flipped bits in silence and ends in a segmentation fault on one that was cut.
    """
    part = manifest.parts[split]
    path, name = folder / part.file, f"{folder.name}/{part.file}"
    if not path.is_file():
        raise InputError(f"{name} is not there. {remedy(folder)}")
    size = path.stat().st_size
    if size != part.bytes:
        raise InputError(f"{name} has {size} bytes, its manifest says {part.bytes}. {remedy(folder)}")
    digest = file_sha256(path)
    if digest != part.sha256:
        raise InputError(f"{name} has sha256 {digest}, its manifest says {part.sha256}. {remedy(folder)}")
    return path


def remedy(folder: Path) -> str:
    """What to do about a variant that is not what it should be."""
    return f"Prepare it again: dvc repro -f prepare@{folder.name}"


def _part(values: dict[str, Any]) -> PartManifest:
    return PartManifest(**{**values, "skipped": _notes(values["skipped"])})


def _notes(values: list[dict[str, str]]) -> tuple[FileNote, ...]:
    return tuple(FileNote(**note) for note in values)
