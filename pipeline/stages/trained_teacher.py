"""The stage `trained_teacher`: students of a teacher trained by this pipeline, or given as a checkpoint."""

import hashlib

from pipeline.config import Params
from pipeline.datasets import load_manifest, open_split
from pipeline.device import resolve_device
from pipeline.errors import InputError
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.stages.teacher_student import described, name_of, work_folder, work_out
from pipeline.studies.teacher_student.study import chunks_of
from pipeline.studies.teacher_student.tables import TRAINED
from pipeline.studies.teacher_student.worlds import ImagesTask, run_trained


def run(layout: Layout, params: Params, item: str) -> None:
    """Train and compare every seed and point of the item, into `data/studies/trained_teacher/ITEM`."""
    spec = params.trained_teacher[item]
    device, cpu = resolve_device(params.device), resolve_device("cpu")
    data, weights = layout.variant(spec.variant), layout.root / spec.weights
    variant = params.variants[spec.variant]
    manifest = load_manifest(data)
    manifest.check_made_from(spec.variant, params.sources[variant.source], variant, params.seed, layout.root)
    if not weights.is_file():
        train = f"Run `python -m pipeline train --item {spec.run}`." if spec.run else "Name another file."
        raise InputError(f"params.yaml, {TRAINED}.{item}.weights: {weights} is not there. {train}")
    model = (spec.model or params.runs[spec.run].model).model_dump(mode="json")
    facts = {
        "spec": described(spec),
        "model": model,
        "data": manifest.md5,
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    work = work_folder(layout, params, TRAINED, item, facts, str(device))
    with item_lock(layout, TRAINED, item):
        train, test = (
            open_split(data, name, device=cpu, threads=params.threads) for name in ("train", "test")
        )
        if train.num_examples < spec.batch_size:
            raise InputError(
                f"params.yaml, {TRAINED}.{item}.batch_size: {spec.batch_size} examples make one update, "
                f"but the "
                f"training split of '{spec.variant}' has {train.num_examples}. Use {train.num_examples} "
                f"or less."
            )
        tasks = [
            ImagesTask(
                spec=spec,
                seeds=seeds,
                root_seed=params.seed,
                device=str(device),
                folder=work / name_of(seeds),
                train=train,
                test=test,
                weights=weights,
                model=model,
            )
            for seeds in chunks_of(spec.seeds, spec.seeds_together)
        ]
        work_out(layout, params, TRAINED, item, run_trained, tasks)
