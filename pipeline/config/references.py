"""Items of `params.yaml` name each other: every name must be there, and fit."""

from typing import TYPE_CHECKING

from pipeline.errors import InputError, unknown_name

if TYPE_CHECKING:
    from pipeline.config import Difficulty, Params, TrainedTeacher


def check_references(params: "Params", name: str) -> None:
    """Items name each other: every name must be there."""
    for key, variant in params.variants.items():
        if variant.source not in params.sources:
            raise unknown_name(f"{name}, variants.{key}.source", variant.source, params.sources)
    for key, split in params.splits.items():
        _check_split(params, f"{name}, splits.{key}", split)
    for key, run in params.runs.items():
        if run.variant not in params.variants and run.variant not in params.views:
            known = [*params.variants, *params.views]
            raise unknown_name(f"{name}, runs.{key}.variant", run.variant, known)
    for key in params.measures:
        if key not in params.runs:
            raise unknown_name(f"{name}, measures.{key}", key, params.runs)
        if params.runs[key].snapshots is None:
            raise InputError(
                f"{name}, measures.{key}: run '{key}' leaves no snapshots. Add runs.{key}.snapshots, "
                "for example {drop: 0.25, first_steps: 3, cap: 24}."
            )
        if params.runs[key].vary:
            raise InputError(
                f"{name}, measures.{key}: run '{key}' varies, and stands for several. Write the one to be"
                " measured as a run of its own."
            )
    for study, items in params.studies.items():
        for key, item in items.items():
            variant = getattr(item, "variant", None)
            if variant is not None and variant not in params.variants:
                raise unknown_name(f"{name}, {study}.{key}.variant", variant, params.variants)
    for key, network in params.batch_norm_biases.items():
        if network.run is not None and network.run not in params.run_names:
            raise unknown_name(f"{name}, batch_norm_biases.{key}.run", network.run, params.run_names)
    for study in ("teacher_student", "trained_teacher"):
        for key, item in params.items_of(study).items():
            if item.lucky is not None:
                raise InputError(
                    f"{name}, {study}.{key}.lucky: names another point of vary; write it at a point of "
                    f"its own there."
                )
    for key, item in params.trained_teacher.items():
        _check_teacher(params, f"{name}, trained_teacher.{key}", item)
    known = [*params.run_names, *params.splits, *(key for items in params.studies.values() for key in items)]
    for claim, roles in params.claims.items():
        for role, key in roles.items():
            if key not in known:
                raise unknown_name(f"{name}, claims.{claim}.{role}", key, known)


def _check_split(params: "Params", where: str, split: "Difficulty") -> None:
    """A split needs a name of its own, and a scoring run, on a variant of its own, that scores enough."""
    key = where.rpartition(".")[2]
    if key in params.runs:
        raise InputError(f"{where}: is the name of a run as well, and claims name both. Rename one of them.")
    if split.run not in params.runs:
        raise unknown_name(f"{where}.run", split.run, params.runs)
    scorer, run = params.runs[split.run], f"runs.{split.run}"
    if not scorer.scores:
        raise InputError(f"{where}.run: run '{split.run}' keeps no scores. Add {run}.scores: true.")
    if scorer.variant not in params.variants:
        raise InputError(
            f"{where}.run: run '{split.run}' trains on the view '{scorer.variant}'; a scorer needs a variant."
        )
    if scorer.vary:
        raise InputError(f"{where}.run: run '{split.run}' varies; a scorer is one run. Remove {run}.vary.")
    if split.rule == "thirds" and split.checkpoints > scorer.epochs:
        raise InputError(
            f"{where}.checkpoints: {split.checkpoints} epochs are averaged, but run '{split.run}' has "
            f"{scorer.epochs}. Use {scorer.epochs} or less."
        )


def _check_teacher(params: "Params", where: str, item: "TrainedTeacher") -> None:
    """A teacher needs a network that its weights are of; those of a run have the run's, and its variant."""
    run = params.runs.get(item.run or "")
    if item.run is not None and run is None:
        raise unknown_name(f"{where}.weights: run", item.run, params.runs)
    if run is None and item.model is None:
        raise InputError(
            f"{where}.model: is missing, and {item.weights} lies in no run's folder, whose model it would be."
            " Add it, for example {name: mlp, options: {widths: [50, 75, 100, 125]}}."
        )
    if run is not None and item.model is not None:
        raise InputError(f"{where}.model: is that of run '{item.run}', whose weights these are. Remove it.")
    if run is not None and run.vary:
        raise InputError(f"{where}.weights: run '{item.run}' varies; a teacher is one run. Name another.")
    if run is not None and run.variant != item.variant:
        raise InputError(
            f"{where}.variant: '{item.variant}' is not what run '{item.run}' trained on, '{run.variant}'."
            " Name that."
        )
