"""`python -m pipeline check`: is params.yaml possible? Before any work, and without the data."""

import json
import logging
from functools import cache

from pipeline.claims import validate_claims, validate_comparisons
from pipeline.config import Measure, Params, Run, Source
from pipeline.datasets.classes import check_classes, known_names, known_number
from pipeline.device import resolve_device
from pipeline.errors import InputError
from pipeline.paths import Layout

log = logging.getLogger("concord")

# Of a folder of images, whose classes are unknown before it is read: any number shows what a network is.
SOME_CLASSES = 10
# Keys that dvc.yaml names, and so stand in the file even where they have a default.
NEEDED = {"device": "auto", "threads": "1", "splits": "{}", "measures": "{}", "claims": "{}"}
GREY_KINDS = ("digits", "mnist", "fashionmnist")


def run(layout: Layout, params: Params, item: str | None) -> None:
    """Raise `InputError` if an item of the file can't work. Reading the file has checked the rest."""
    _check_sections(params)
    resolve_device(params.device)
    validate_claims(params.claims)
    validate_comparisons(params)
    for name, source in params.sources.items():
        where = f"params.yaml, sources.{name}.classes"
        check_classes(where, source.classes, known_number(source), known_names(source))
    for name in params.runs:
        check_model(params, name)
    for name in params.splits:
        _check_split(params, name)
    log.info(
        "params.yaml: %d variants, %d runs, %d of them measured, %d claims to judge: possible.",
        len(params.variants),
        len(params.runs),
        len(params.measures),
        len(params.claims),
    )


def check_model(params: Params, name: str) -> None:
    """Build the network of a run, and check that the run can train and measure it."""
    spec = params.runs[name]
    _check_network(params, name, spec, f"params.yaml, runs.{name}")
    for point, varied in spec.points().items():
        _check_network(params, name, varied, f"params.yaml, runs.{name}.vary.{point}")


def _check_network(params: Params, name: str, spec: Run, where: str) -> None:
    from models import ModelError, check

    source = params.sources[params.variants[params.variant_of(spec)].source]
    try:
        check(spec.model.name, spec.model.options, f"{where}.model")
    except ModelError as error:
        raise InputError(str(error)) from error
    try:
        normed = _batch_norm_layers(spec.model.name, json.dumps(spec.model.options), source)
    except ModelError as error:
        raise InputError(f"{where}.model: {error}") from error
    if normed:
        _check_batch_norm(where, spec, normed[0])
        if name in params.measures:
            _check_measure(f"params.yaml, measures.{name}", params.measures[name], normed[0])


@cache
def _batch_norm_layers(model: str, options: str, source: Source) -> tuple[str, ...]:
    """Names of the batch-norm layers of a network, `options` as JSON, built for the images of `source`.

    Built with its weights: torch's meta device spares them, but imports the compiler, which takes longer.
    """
    from models import build
    from pipeline.gradients import batch_norm_layers

    channels = 1 if source.kind in GREY_KINDS else 3
    network = build(model, json.loads(options), (channels, source.side, source.side), _classes(source))
    return tuple(batch_norm_layers(network))


def _check_batch_norm(where: str, spec: Run, layer: str) -> None:
    if spec.aggregation == "winsorized":
        raise InputError(
            f"{where}.aggregation: winsorizing needs gradients of single examples, which batch norm (layer"
            f" '{layer}') couples. Use a network without batch norm, or aggregation: m3."
        )
    if spec.micro_batch_size < 2:
        raise InputError(
            f"{where}.batch_size: {spec.batch_size} in {spec.micro_batches} micro_batches gives micro-batches"
            f" of {spec.micro_batch_size}, too few for batch norm (layer '{layer}'). Use at least"
            f" {2 * spec.micro_batches}, or a network without batch norm."
        )


def _check_measure(where: str, measure: Measure, layer: str) -> None:
    if measure.estimator == "exact" and measure.batch_norm == "train":
        raise InputError(
            f"{where}.estimator: 'exact' needs gradients of single examples, which batch norm (layer"
            f" '{layer}') couples. Use imputed, or batch_norm: eval, which measures another function."
        )
    try:
        measure.check_single_examples(layer)
        if measure.estimator == "auto":
            measure.check_batches()
    except ValueError as error:
        raise InputError(f"{where}: {error}.") from error


def _check_split(params: Params, name: str) -> None:
    """The classes have to share a set's examples alike; a folder of images is counted once it is read."""
    from pipeline.studies.difficulty.sets import share_of_class

    split = params.splits[name]
    number = _known_classes(params.sources[params.variants[params.runs[split.run].variant].source])
    if number is not None:
        for size in ("train_examples", "test_examples"):
            share_of_class(f"params.yaml, splits.{name}.{size}", getattr(split, size), number)


def _check_sections(params: Params) -> None:
    for name, value in NEEDED.items():
        if name not in params.model_fields_set:
            raise InputError(f"params.yaml, {name}: is missing, and DVC wants it. Write {name}: {value}")


def _classes(source: Source) -> int:
    return _known_classes(source) or SOME_CLASSES


def _known_classes(source: Source) -> int | None:
    if isinstance(source.classes, int):
        return source.classes
    return len(source.classes or ()) or known_number(source)
