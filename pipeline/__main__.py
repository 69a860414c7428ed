"""The command line: `python -m pipeline STAGE [--item NAME]`.

Exit codes: 0 done; 1 a bug; 2 wrong input (one message, no traceback); 3 interrupted, resumable.
"""

import argparse
import importlib
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config import Params, load_params
from pipeline.errors import InputError, Interrupted, unknown_name
from pipeline.locks import die_with_parent
from pipeline.paths import Layout, find_root
from pipeline.startup import importing, leave
from pipeline.workers import start_server

log = logging.getLogger("concord")


@dataclass(frozen=True)
class Stage:
    """One command: its help, and what it takes.

    Either items of a section of params, or options of its own, which a light module beside the stage declares
    (`add_options`, `read_options`), or nothing.
    """

    help: str
    items: str | None = None
    options: str | None = None
    workers: tuple[str, ...] = ()  # modules that its worker processes need, where it has any


AUTOGRAD = "torch.fx.experimental.symbolic_shapes"  # half a second, imported by the first weighted backward

STAGES = {
    "check": Stage("check params.yaml without doing any work"),
    "prepare": Stage("write the betons and the manifest of a dataset variant", items="variants"),
    "train": Stage(
        "train every seed of a run",
        items="runs",
        workers=("pipeline.stages.train", "pipeline.gradients.aggregation.kernels", AUTOGRAD),
    ),
    "split": Stage("sort the examples of a set into easy, hard and random views", items="splits"),
    "measure": Stage(
        "measure the snapshots of a run", items="measures", workers=("pipeline.stages.measure", AUTOGRAD)
    ),
    "osgr": Stage(
        "measure one-step generalisation ratios over many training sets",
        items="osgr",
        workers=("pipeline.stages.osgr",),
    ),
    "osgr_toy": Stage(
        "the same on a toy regression", items="osgr_toy", workers=("pipeline.stages.osgr_toy",)
    ),
    "examples": Stage("work out the toy examples of the coherent-gradients paper"),
    "regression": Stage("learn a product with and without a frozen first layer", items="regression"),
    "learning": Stage(
        "follow gradients while networks, or linear models, learn a variant",
        items="learning",
        workers=("pipeline.stages.learning",),
    ),
    "theorems": Stage("check the theorems of the Luck Matters paper on small networks"),
    "matrix_dynamics": Stage(
        "follow students over the matrix dynamics of Theorem 5", items="matrix_dynamics"
    ),
    "batch_norm_biases": Stage(
        "count the negative batch-norm biases of a trained network", items="batch_norm_biases"
    ),
    "teacher_student": Stage("train students of drawn teachers and compare nodes", items="teacher_student"),
    "trained_teacher": Stage("train students of a trained teacher on its images", items="trained_teacher"),
    "inspect-labels": Stage(
        "rank the labels of any image folder, or of a variant, by how much the other examples disagree",
        options="pipeline.stages.inspect_labels_options",
        workers=("pipeline.stages.inspect_labels", AUTOGRAD),
    ),
    "report": Stage("judge the claims and draw the page"),
    "show": Stage("print the claims table of the last report"),
    "ui": Stage("print the addresses of the experiments in the MLflow UI and serve it"),
    "sync": Stage("send to MLflow what could not be sent when it was tracked"),
    "prune": Stage("delete what items that params.yaml no longer names have left"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; return its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger().setLevel(logging.WARNING)  # libraries speak only of trouble
    log.setLevel(logging.INFO)
    logging.raiseExceptions = False  # a reader that closes the pipe (`| head`) is no error of ours
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        layout = Layout(find_root())
        params = load_params(layout.params)
        given = _given(params, options)
        if STAGES[options.stage].workers:
            start_server(*STAGES[options.stage].workers)
        with importing():
            module = importlib.import_module(f"pipeline.stages.{options.stage.replace('-', '_')}")
        module.run(layout, params, given)
    except InputError as error:
        log.error("%s", error)
        return 2
    except Interrupted as error:
        log.error(
            "Interrupted: %s. Run it again: training goes on from where it was, other stages begin anew.",
            error,
        )
        return 3
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, stage in STAGES.items():
        command = commands.add_parser(name, help=stage.help, description=stage.help)
        if stage.items:
            command.add_argument("--item", required=True, help=f"a key under '{stage.items}' in params.yaml")
        if stage.options:
            importlib.import_module(stage.options).add_options(command)
    return parser


def _given(params: Params, options: argparse.Namespace) -> Any:
    """What the stage gets: its item, its own options, or None."""
    stage = STAGES[options.stage]
    if stage.options:
        return importlib.import_module(stage.options).read_options(options)
    section = stage.items
    if section is None:
        return None
    known = getattr(params, section)
    if options.item not in known:
        raise unknown_name(f"params.yaml, {section}", options.item, known)
    return options.item


def _interrupt(number: int, frame: Any) -> None:
    # Once is enough: a second Ctrl-C while the workers save their state must not cut that short.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted(f"by {signal.Signals(number).name}")


if __name__ == "__main__":
    leave(main())
