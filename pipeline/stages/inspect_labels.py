"""The command `inspect-labels`: rank the labels of a folder or a variant by how much the others disagree."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models import ModelError, check
from pipeline.config import Params
from pipeline.datasets import load_manifest, open_split
from pipeline.datasets.parts import Place
from pipeline.device import resolve_device
from pipeline.errors import InputError, unknown_name
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.progress import ProgressLine
from pipeline.reporting.label_page import render_labels
from pipeline.stages.inspect_labels_options import InspectOptions
from pipeline.stages.items import flat, processes_for
from pipeline.studies.label_errors.plan import Plan, plan_for
from pipeline.studies.label_errors.scores import ranks
from pipeline.studies.label_errors.study import Inspection, inspect
from pipeline.studies.label_errors.subject import Subject, folder_subject, variant_subject
from pipeline.studies.label_errors.table import FILE, LabelRow, label_rows
from pipeline.studies.label_errors.watching import Progress, Restarted, Watched, WatchTask, watch
from pipeline.studies.tables import write_rows
from pipeline.tracking import track
from pipeline.workers import side_by_side

log = logging.getLogger("concord")

STAGE = "inspect-labels"
STUDY = "label-errors"
FIRST = 5  # of the table, told on the terminal


def run(layout: Layout, params: Params, options: InspectOptions) -> None:
    """Write labels.csv and index.html on the images that `options` name."""
    started = time.monotonic()
    device = str(resolve_device(params.device))
    seed = params.seed if options.seed is None else options.seed
    subject = _subject(layout, params, options, seed)
    plan = _plan(subject, options)
    folder = options.out or layout.reports / "labels" / subject.name
    _make_folder(folder)
    with (
        item_lock(layout, STAGE, subject.name),
        track(layout, study=STUDY, stage=STAGE, item=subject.name) as tracker,
    ):
        tracked = tracker.start(seed=seed, params=flat(asdict(plan)))
        found = _inspect(subject, plan, params, seed, device)
        rows = label_rows(subject, found)
        write_rows(folder / FILE, LabelRow, rows)
        _write_page(folder / "index.html", subject, plan, seed, found, rows, options.top)
        metrics = _metrics(subject, found)
        tracked.log(metrics, step=0)
        for name in (FILE, "index.html"):
            tracked.artifact(folder / name)
    for line in _summary(subject, rows, metrics):
        log.info("%s %s: %s", STAGE, subject.name, line)
    log.info("%s %s: %s in %.0f s", STAGE, subject.name, folder / "index.html", time.monotonic() - started)


def _subject(layout: Layout, params: Params, options: InspectOptions, seed: int) -> Subject:
    if options.folder is not None:
        subject = folder_subject(options.folder, options.image_size, seed)
        for note in subject.bad:
            log.warning("%s %s: left out, %s", STAGE, subject.name, note)
        return subject
    if options.image_size is not None:
        raise InputError("--image-size is for --folder: the images of a variant have theirs.")
    name = options.variant
    if name not in params.variants:
        raise unknown_name("--variant", name, params.variants)
    variant, folder = params.variants[name], layout.variant(name)
    source = params.sources[variant.source]
    manifest = load_manifest(folder)
    manifest.check_made_from(name, source, variant, params.seed, layout.root)
    split = open_split(folder, "train", device=resolve_device("cpu"), threads=params.threads)
    place = Place(variant.source, params.seed, layout.root, layout.generated)
    return variant_subject(name, manifest, split, source, place)


def _plan(subject: Subject, options: InspectOptions) -> Plan:
    """How the networks are trained, once it is known to be possible."""
    split = subject.split
    plan = plan_for(
        split.num_examples,
        split.input_shape,
        model=options.model,
        epochs=options.epochs,
        folds=options.folds,
        lr=options.lr,
    )
    try:
        check(plan.model, plan.options, "--model")
    except ModelError as error:
        raise InputError(str(error)) from error
    counts = zip(subject.classes, np.bincount(split.labels, minlength=split.num_classes), strict=True)
    short = [f"{name} ({count})" for name, count in counts if count < plan.folds]
    if short:
        listed = ", ".join(short[:10]) + (" and others" if len(short) > 10 else "")
        raise InputError(
            f"{STAGE} {subject.name}: each of {plan.folds} folds needs an image of every class, and these "
            f"have fewer: {listed}. Add images, leave these classes out, or use fewer --folds (2 or more)."
        )
    return plan


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: the folder {folder} cannot be made ({error.strerror}).") from error


def _inspect(subject: Subject, plan: Plan, params: Params, seed: int, device: str) -> Inspection:
    line = ProgressLine(f"{STAGE} {subject.name}", "epochs", 2 * plan.folds)

    def run_tasks(tasks: Sequence[WatchTask], before: int) -> list[Watched]:
        def on_message(index: int, message: Any) -> None:
            if isinstance(message, Progress):
                line.update(before + index, message.done, message.total)
            elif isinstance(message, Restarted):
                what = f"network {before + index + 1} diverged in epoch {message.epoch}"
                log.warning("%s %s: %s; again at lr %g.", STAGE, subject.name, what, message.lr)

        processes = processes_for(params, device)
        return side_by_side(watch, tasks, processes=processes, threads=params.threads, on_message=on_message)

    try:
        return inspect(subject.split, plan, root_seed=seed, device=device, run=run_tasks)
    finally:
        line.close()


def _write_page(
    path: Path, subject: Subject, plan: Plan, seed: int, found: Inspection, rows: Sequence[LabelRow], top: int
) -> None:
    positions = {file: position for position, file in enumerate(subject.files)}
    shape = "x".join(map(str, subject.split.input_shape))
    facts = {
        "images": f"{len(rows)} in {len(subject.classes)} classes, looked at as {shape}",
        "networks": f"{plan.folds}, each trained without a part of the images, and as many again on what "
        "these trust",
        "agreement": f"{found.first.hits.mean():.1%} of the labels are given by a network that has not seen "
        f"them, {found.second.hits.mean():.1%} in the second round, which counts for {found.weight:.0%}",
        "network": plan.model,
        "training": f"{plan.epochs} epochs, batches of {plan.batch_size}, learning rate {plan.lr:g}",
        "seed": str(seed),
    }
    page = render_labels(
        subject.name,
        rows,
        subject.thumbnails([positions[row.file] for row in rows[:top]]),
        facts=facts,
        unreadable=[str(note) for note in subject.bad],
    )
    aside = path.with_suffix(".partial")
    aside.write_text(page, encoding="utf-8")
    aside.rename(path)


def _metrics(subject: Subject, found: Inspection) -> dict[str, float]:
    """Counts; and where the wrong labels are known, how well they were found."""
    quantities = {
        "examples": len(found.labels),
        "doubted": found.doubted.sum(),
        "held_out_hits": found.first.hits.mean(),
        "held_out_hits_of_second": found.second.hits.mean(),
        "weight_of_second": found.weight,
    }
    metrics = {f"labels/{name}": float(value) for name, value in quantities.items()}
    wrong = subject.split.labels != subject.split.original_labels
    if wrong.any():
        from sklearn.metrics import average_precision_score  # a second of imports

        first = ranks(found.suspicion) <= wrong.sum()
        metrics["labels/wrong"] = float(wrong.sum())
        metrics["labels/average_precision"] = float(average_precision_score(wrong, found.suspicion))
        metrics["labels/precision"] = float(wrong[first].mean())
    return metrics


def _summary(subject: Subject, rows: Sequence[LabelRow], metrics: dict[str, float]) -> list[str]:
    doubted = int(metrics["labels/doubted"])
    hits = metrics["labels/held_out_hits"]
    lines = [
        f"{doubted} of {len(rows)} labels are doubted; the networks give {hits:.1%} of the labels unseen"
    ]
    first = rows[: min(FIRST, doubted)]
    lines += [f"  {row.file}: {row.given} -> {row.other} ({row.suspicion:.3f})" for row in first]
    if "labels/wrong" in metrics:
        known, average, precision = (
            metrics[f"labels/{name}"] for name in ("wrong", "average_precision", "precision")
        )
        lines.append(
            f"{known:.0f} labels are known to be wrong: average precision {average:.3f}, {precision:.1%} of "
            "as many first ones are"
        )
    return lines
