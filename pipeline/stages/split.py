"""The stage `split`: easy, hard and random examples, told apart by a run's scores, as views."""

import logging
import time
from collections.abc import Iterable, Mapping
from functools import partial

from pipeline.config import Params
from pipeline.datasets import load_manifest, open_split, write_view
from pipeline.datasets.folders import written_aside
from pipeline.device import resolve_device
from pipeline.errors import InputError
from pipeline.locks import item_lock
from pipeline.measuring import Facts, read_facts
from pipeline.paths import Layout
from pipeline.stages.items import check_data, flat
from pipeline.studies.difficulty.fits import untrained
from pipeline.studies.difficulty.scores import read_scores
from pipeline.studies.difficulty.sets import Pool, views_of
from pipeline.studies.difficulty.study import fit_rows, score_rows, sort_pool, summary
from pipeline.studies.difficulty.tables import FITS, SCORES, FitRow, ScoreRow
from pipeline.studies.tables import write_rows
from pipeline.tracking import track

log = logging.getLogger("concord")


def run(layout: Layout, params: Params, item: str) -> None:
    """Write the tables of the split `item` into `data/splits/ITEM`, its views into `data/sets/ITEM.VIEW`."""
    split, started = params.splits[item], time.monotonic()
    facts = _scorers(layout, params, item)
    tags = {"variant": facts.variant, "dataset_md5": facts.dataset_md5}
    study, device = params.runs[split.run].study, resolve_device(params.device)
    with (
        item_lock(layout, "split", item),
        track(layout, study=study, stage="split", item=item, tags=tags) as tracker,
    ):
        data, folder = layout.variant(facts.variant), layout.split(item)
        train = open_split(data, "train", device=device, threads=params.threads)
        pool = Pool(train.labels, load_manifest(data).classes, facts.variant, facts.root_seed)
        scores = [read_scores(layout.run(split.run), seed) for seed in facts.seeds]
        sorting = sort_pool(item, split, pool, scores)
        network = partial(
            untrained, facts.model_name, facts.model_options, root_seed=facts.root_seed, train=train
        )
        starts = {seed: partial(network, seed=seed) for seed in facts.seeds}
        fits = list(fit_rows(item, split, pool, train, sorting.sets, starts))
        with written_aside(folder) as aside:
            write_rows(aside / SCORES, ScoreRow, score_rows(train, sorting))
            if split.fits is not None:
                write_rows(aside / FITS, FitRow, fits)
        views = views_of(split, facts.variant, facts.dataset_md5, sorting.held_out, sorting.sets)
        for name, view in views.items():
            write_view(layout.variant(f"{item}.{name}"), view)
        numbers = summary(sorting, fits)
        tracked = tracker.start(params=flat(split.model_dump(mode="json")))
        tracked.log(numbers, step=0)
        for path in sorted(folder.iterdir()):
            tracked.artifact(path)
    _tell(item, facts, sorting.sets, numbers, time.monotonic() - started)


def _scorers(layout: Layout, params: Params, item: str) -> Facts:
    """What the scoring run was; `InputError` if the data are no longer what it was trained on."""
    run = params.splits[item].run
    facts = read_facts(layout.run(run))
    if check_data(layout, params, params.runs[run]) != facts.dataset_md5:
        raise InputError(
            f"data/runs/{run}: '{facts.variant}' was prepared anew after the run was trained on it. Run"
            " `dvc repro`, which trains again."
        )
    return facts


def _tell(item: str, facts: Facts, sets: Iterable[str], numbers: Mapping[str, float], seconds: float) -> None:
    log.info("split %s: by %d scorers in %.1f s", item, len(facts.seeds), seconds)
    for name in sets:
        line = f"{numbers[f'{name}/examples']} examples, hits {numbers[f'{name}/mean_correctness']:.0%}"
        if f"{name}/fit_steps" in numbers:
            line += f", {numbers[f'{name}/fit_steps']:.1f} steps to fit one alone"
        log.info("split %s: %s: %s", item, name, line)
