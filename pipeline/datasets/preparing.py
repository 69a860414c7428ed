"""From a source to the betons and the manifest of one variant."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config import Source, Variant
from pipeline.datasets.betons import Examples, write_beton
from pipeline.datasets.corruption import corrupt, noise_images, pixel_permutations
from pipeline.datasets.decode import Recipe
from pipeline.datasets.folders import written_aside
from pipeline.datasets.manifest import (
    FILE,
    Manifest,
    Noise,
    PartManifest,
    file_sha256,
    source_facts,
    variant_facts,
)
from pipeline.datasets.parts import SPLITS, OpenSource, Place
from pipeline.datasets.scan import PixelStatistics, Scan, pixel_statistics, scan
from pipeline.datasets.sources import open_source
from pipeline.datasets.subset import Chosen, Subset, choose
from pipeline.errors import InputError

RAW_SIDE = 64  # encoding auto: images up to this side are stored as they are
ON_LOAD_SIDE = 128  # from this side on, noise in JPEG-coded betons is drawn when it is loaded


@dataclass(frozen=True)
class Storage:
    """How the images of a variant are stored."""

    jpg_quality: int | None  # None = raw
    noise: Noise


@dataclass(frozen=True)
class Plan:
    """All that is settled about a variant before anything is written."""

    source: Source
    variant: Variant
    place: Place
    opened: OpenSource
    subset: Subset
    recipe: Recipe
    storage: Storage
    scans: dict[str, Scan]
    statistics: PixelStatistics


def prepare_variant(
    *,
    source: Source,
    variant: Variant,
    source_name: str,
    root_seed: int,
    repository: Path,
    generated: Path,
    folder: Path,
) -> Manifest:
    """Write `folder`/{train,test}.beton and manifest.json; what stood there before is replaced at the end.

    `repository` is what a relative `source.path` starts from, `generated` the folder for images that a source
    draws itself. Raises `InputError` for whatever is wrong with the source, before anything is written.
    """
    plan = _plan(source, variant, Place(source_name, root_seed, repository, generated))
    with written_aside(folder) as aside:
        parts = {split: _write_part(plan, split, aside / f"{split}.beton") for split in SPLITS}
        manifest = _manifest(plan, parts)
        (aside / FILE).write_text(manifest.text, encoding="utf-8")
    return manifest


def plan_storage(source: Source, variant: Variant, recipe: Recipe, where: str) -> Storage:
    """Raw or JPEG, noise stored or drawn on load. `where` is how an error calls the key `encoding`.

    JPEG would change noise and permuted pixels, which are as good as noise: a set with such images in it is
    stored raw as a whole. Only large noise images are left out of a JPEG-coded set and drawn on load.
    """
    if recipe.channels == 1 and source.encoding == "jpg":
        raise InputError(
            f"{where}: jpg is for colour images; '{source.kind}' has grey ones. Remove 'encoding'."
        )
    wants_jpg = source.encoding == "jpg" or (source.encoding == "auto" and recipe.side > RAW_SIDE)
    has_noise = variant.noise_images > 0
    jpg = (
        wants_jpg
        and recipe.channels == 3
        and variant.permute_pixels == "none"
        and not (has_noise and recipe.side < ON_LOAD_SIDE)
    )
    noise: Noise = "none" if not has_noise else "on load" if jpg else "stored"
    return Storage(source.jpg_quality if jpg else None, noise)


def _plan(source: Source, variant: Variant, place: Place) -> Plan:
    opened = open_source(source, place)
    recipe = Recipe(source.side, source.resize or source.side, opened.channels)
    storage = plan_storage(source, variant, recipe, place.key("encoding"))
    subset = choose(opened, source, place)
    scans = {split: scan(opened.parts[split], subset.parts[split].positions, recipe) for split in SPLITS}
    if source.on_bad_image == "stop":
        _refuse_bad(scans, place)
    good = {split: _good(subset.parts[split], scans[split]) for split in SPLITS}
    subset = Subset(subset.classes, good)
    _refuse_empty(subset, place)
    statistics = pixel_statistics(scans["train"], place.source_name)
    return Plan(source, variant, place, opened, subset, recipe, storage, scans, statistics)


def _refuse_bad(scans: dict[str, Scan], place: Place) -> None:
    bad = [note for scanned in scans.values() for note in scanned.bad]
    if bad:
        listed = "\n".join(f"  {note}" for note in bad)
        raise InputError(
            f"source '{place.source_name}': {len(bad)} of the chosen images cannot be used:\n{listed}\n"
            f"Mend or remove them, or leave them out with {place.key('on_bad_image')}: skip"
        )


def _good(chosen: Chosen, scanned: Scan) -> Chosen:
    return Chosen(chosen.positions[scanned.is_good], chosen.labels[scanned.is_good])


def _refuse_empty(subset: Subset, place: Place) -> None:
    for split in SPLITS:
        counts = np.bincount(subset.parts[split].labels, minlength=len(subset.classes))
        empty = [name for name, count in zip(subset.classes, counts, strict=True) if count == 0]
        if empty:
            raise InputError(
                f"source '{place.source_name}': no image that can be used in the {split} part of "
                f"{', '.join(empty)}."
            )


def _write_part(plan: Plan, split: str, path: Path) -> PartManifest:
    chosen, variant, place = plan.subset.parts[split], plan.variant, plan.place
    corruption = corrupt(variant, place, split, chosen.positions, chosen.labels, len(plan.subset.classes))
    examples = Examples(
        part=plan.opened.parts[split],
        recipe=plan.recipe,
        indices=chosen.positions,
        original_labels=chosen.labels,
        corruption=corruption,
        noise=noise_images(place, split, plan.statistics),
        noise_on_load=plan.storage.noise == "on load",
        permutations=pixel_permutations(variant, place, split, plan.recipe.side),
        pixels=plan.scans[split].pixels,
    )
    write_beton(path, examples, jpg_quality=plan.storage.jpg_quality)
    counts = np.bincount(chosen.labels, minlength=len(plan.subset.classes)).tolist()
    return PartManifest(
        file=path.name,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
        available=len(examples.part.labels),
        examples=len(chosen.positions),
        per_class=dict(zip(plan.subset.classes, counts, strict=True)),
        corrupt=int(corruption.is_corrupt.sum()),
        noise_images=int(corruption.is_noise.sum()),
        relabelled=int(corruption.is_relabelled.sum()),
        skipped=plan.scans[split].bad,
    )


def _manifest(plan: Plan, parts: dict[str, PartManifest]) -> Manifest:
    from pipeline.datasets.ffcv_stack import VERSION  # imported by now, by the writer

    return Manifest(
        source_name=plan.place.source_name,
        source=source_facts(plan.source, plan.place.repository),
        variant=variant_facts(plan.variant),
        root_seed=plan.place.root_seed,
        classes=plan.subset.classes,
        input_shape=(plan.recipe.channels, plan.recipe.side, plan.recipe.side),
        mean=plan.statistics.mean,
        std=plan.statistics.std,
        encoding="raw" if plan.storage.jpg_quality is None else "jpg",
        noise=plan.storage.noise,
        parts=parts,
        ignored=plan.opened.ignored,
        ffcv=VERSION,
    )
