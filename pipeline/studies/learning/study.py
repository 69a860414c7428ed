"""The tables of the items of `regression`, and of one seed of an item of `learning`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pipeline.config import Regression, Shallow, Weights
from pipeline.datasets import Split
from pipeline.errors import InputError
from pipeline.streams import generator
from pipeline.studies.learning import first_term, frozen, shallow, weights
from pipeline.studies.learning.dense import Networks, initial
from pipeline.studies.learning.stopping import Stop, go_on
from pipeline.studies.learning.tables import CHANGES, COURSE, CURVES, FEATURES, FIRST_TERM, MEANS, SHALLOW
from pipeline.studies.learning.weights import Examples

READ_BATCH = 10_000

Tables = dict[str, Sequence[Any]]  # rows by file name


def regression_tables(spec: Regression, root_seed: int, device: torch.device) -> Tables:
    """All seeds of an item of `regression`."""
    followed = frozen.follow(spec, root_seed, device)
    return {MEANS: followed.means, CURVES: followed.curves, FEATURES: followed.features}


def learning_tables(
    item: str,
    spec: Weights | Shallow,
    seed: int,
    root_seed: int,
    splits: Mapping[str, Split],
    stop: Stop = go_on,
) -> Tables:
    """One seed of an item of `learning`; `splits`: train and test, on the device of the work.

    Raises `Interrupted` at the first step at which `stop()` is true.
    """
    if isinstance(spec, Weights):
        return _weights_tables(spec, seed, root_seed, splits, stop)
    return {SHALLOW: _shallow_rows(item, spec, seed, root_seed, splits["train"], stop)}


def _weights_tables(
    spec: Weights, seed: int, root_seed: int, splits: Mapping[str, Split], stop: Stop
) -> Tables:
    train, test = (_examples(splits[name]) for name in ("train", "test"))
    networks = _networks(spec.widths, splits["train"], seed, root_seed, "init")
    changes, course = weights.follow(networks, train, test, spec.lr, spec.recorded, stop)
    tables: Tables = {CHANGES: changes, COURSE: course}
    if spec.first_term is not None:
        small = _networks(spec.first_term.widths, splits["train"], seed, root_seed, "first term")
        seen = train.first(spec.first_term.examples)
        tables[FIRST_TERM] = first_term.follow(small, seen, spec.lr, spec.first_term.steps, stop)
    return {name: [replace(row, seed=seed) for row in rows] for name, rows in tables.items()}


def _shallow_rows(
    item: str, spec: Shallow, seed: int, root_seed: int, train: Split, stop: Stop
) -> list[shallow.ShallowRow]:
    if spec.examples > train.num_examples:
        raise InputError(
            f"params.yaml, learning.{item}.examples: {spec.examples} are drawn for a seed, but the training"
            f" split of '{spec.variant}' has {train.num_examples}. Use {train.num_examples} or less."
        )
    order = generator(root_seed, "learning", "shallow", seed).permutation(train.num_examples)
    drawn = _examples(train.at(np.sort(order[: spec.examples])))
    return [
        row
        for model in spec.models
        for row in shallow.follow(
            model, seed, drawn.inputs, drawn.labels, train.num_classes, spec.lr, spec.checkpoints, stop
        )
    ]


def _networks(widths: Sequence[int], split: Split, seed: int, root_seed: int, stream: str) -> Networks:
    ends = int(np.prod(split.input_shape)), split.num_classes
    source = generator(root_seed, "learning", "weights", seed, stream)
    device = split.reader.device
    return initial((ends[0], *widths, ends[1]), [source], dtype=torch.float32, device=device)


def _examples(split: Split) -> Examples:
    """All examples of a split, images as rows."""
    batches = list(split.batches(np.arange(split.num_examples), READ_BATCH))
    inputs = torch.cat([batch.inputs.flatten(start_dim=1) for batch in batches])
    return Examples(inputs, torch.cat([batch.labels for batch in batches]))
