"""Stage `prepare`: one dataset variant into betons and a manifest."""

import logging
import time

from pipeline.config import Params
from pipeline.datasets import prepare_variant
from pipeline.datasets.manifest import Manifest
from pipeline.errors import InputError, unknown_name
from pipeline.paths import Layout

log = logging.getLogger("concord")


def run(layout: Layout, params: Params, item: str | None) -> None:
    """Prepare the variant `item` of the params."""
    if item is None:
        raise InputError(
            f"prepare: which variant? Give --item, one of: {', '.join(sorted(params.variants))}."
        )
    if item not in params.variants:
        raise unknown_name("prepare --item", item, params.variants)
    variant = params.variants[item]
    started = time.perf_counter()
    manifest = prepare_variant(
        source=params.sources[variant.source],
        variant=variant,
        source_name=variant.source,
        root_seed=params.seed,
        repository=layout.root,
        generated=layout.generated,
        folder=layout.variant(item),
    )
    for line in summary(manifest):
        log.info("prepare %s: %s", item, line)
    log.info("prepare %s: done in %.1f s", item, time.perf_counter() - started)


def summary(manifest: Manifest) -> list[str]:
    """What was prepared, in a few plain lines."""
    channels, height, width = manifest.input_shape
    lines = [f"{len(manifest.classes)} classes, {channels}x{height}x{width}, {manifest.encoding}"]
    for split, part in manifest.parts.items():
        corrupt = f", {part.corrupt} corrupt" if part.corrupt else ""
        skipped = f", {len(part.skipped)} bad ones skipped" if part.skipped else ""
        lines.append(f"{split} {part.examples} examples{corrupt}{skipped}, {part.bytes / 2**20:.1f} MiB")
    if manifest.ignored:
        lines.append(f"{len(manifest.ignored)} other files ignored, such as {manifest.ignored[0].file}")
    return lines
