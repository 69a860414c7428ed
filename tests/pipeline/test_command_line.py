"""The command line as users meet it: help, exit codes, and one message for whatever is wrong."""

import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import STAGES, main

ROOT = Path(__file__).parents[2]

PARAMS = """
seed: 0
device: cpu
threads: 1
sources:
  digits: {kind: digits, examples_per_class: 4, test_examples_per_class: 2}
variants:
  real: {source: digits}
runs:
  normed:
    {variant: real, model: resnet, lr: 0.1, batch_size: 6, epochs: 1, snapshots: {}}
  plain:
    {variant: real, model: mlp, lr: 0.1, batch_size: 6, epochs: 1, snapshots: {}}
splits: {}
measures:
  normed: {examples: 20, batch_size: 5}
claims: {}
"""


@pytest.fixture
def repository(tmp_path):
    """The two files that make a folder a repository of Concord."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


@pytest.fixture
def called(repository, monkeypatch, caplog):
    """A function that calls a command in the repository: exit code and messages."""
    monkeypatch.chdir(repository)
    # This process lives on after the command: it keeps its signals and its levels of logging.
    monkeypatch.setattr("pipeline.__main__.die_with_parent", lambda: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    levels = {name: logging.getLogger(name).level for name in ("", "concord")}

    def call(*arguments):
        caplog.clear()
        return main(arguments), caplog.messages

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def command(folder, *arguments):
    """The command in a process of its own: what a user sees."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def edit(repository, old, new):
    path = repository / "params.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_help(stage, capsys):
    with pytest.raises(SystemExit) as caught:
        main([stage, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert STAGES[stage].help in " ".join(text.split())
    assert ("--item" in text) == bool(STAGES[stage].items)


def test_the_help_of_all_lists_every_stage(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(stage in text.split() for stage in STAGES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: STAGE"),
        (["tarin"], "invalid choice: 'tarin'"),
        (["train"], "required: --item"),
        (["check", "--item", "a"], "unrecognized arguments: --item a"),
    ],
)
def test_a_command_that_is_none_is_refused_with_its_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("usage: python -m pipeline")
    assert message in told


@pytest.mark.parametrize(
    ("stage", "item", "message"),
    [
        (
            "train",
            "plane",
            "params.yaml, runs: 'plane' is unknown. Did you mean 'plain'? Known: normed, plain.",
        ),
        ("prepare", "reel", "params.yaml, variants: 'reel' is unknown. Did you mean 'real'? Known: real."),
        ("measure", "plain", "params.yaml, measures: 'plain' is unknown. Known: normed."),
    ],
)
def test_an_unknown_item_is_named_with_what_is_known(called, stage, item, message):
    assert called(stage, "--item", item) == (2, [message])


WRONG = {
    "unknown key": (
        "epochs: 1",
        "epochs: 1, momentun: 0.9",
        "momentun: unknown key. Did you mean 'momentum'?",
    ),
    "value out of range": ("lr: 0.1", "lr: 0", "runs.normed.lr: should be greater than 0"),
    "unknown model": (
        "model: mlp",
        "model: mpl",
        "runs.plain.model: model 'mpl' is unknown. Did you mean 'mlp'?",
    ),
    "more classes than the source has": (
        "kind: digits,",
        "kind: digits, classes: 11,",
        "sources.digits.classes: 11 classes are asked for, the source has 10.",
    ),
    "unknown class": (
        "kind: digits,",
        "kind: digits, classes: ['3', 'four'],",
        "sources.digits.classes: 'four' is unknown. Known: 0, 1, 2,",
    ),
    "unknown claim": (
        "claims: {}",
        "claims: {CG-4-reel: {mean: plain}}",
        "'CG-4-reel' is unknown. Did you mean 'CG-4-real'?",
    ),
    "micro-batches": (
        "batch_size: 6, epochs: 1, snapshots: {}}\n  plain:",
        "batch_size: 7, epochs: 1, aggregation: m3}\n  plain:",
        "runs.normed: batch_size 7 is not divisible by 3 micro_batches; 6 is.",
    ),
    "winsorized batch norm": (
        "snapshots: {}",
        "snapshots: {}, aggregation: winsorized, winsorize_percent: 5.0",
        "runs.normed.aggregation: winsorizing needs gradients of single examples, which batch norm (layer '",
    ),
    "micro-batches of one with batch norm": (
        "batch_size: 6, epochs: 1",
        "batch_size: 3, epochs: 1, aggregation: m3",
        "micro-batches of 1, too few for batch norm (layer '",
    ),
    "too few batches to impute from": (
        "examples: 20, batch_size: 5",
        "examples: 20, batch_size: 6",
        "measures.normed: examples 20 give fewer than 4 batches of batch_size 6; use batch_size 5 or less.",
    ),
    "a key that DVC wants": (
        "claims: {}",
        "",
        "claims: is missing, and DVC wants it. Write claims: {}",
    ),
    "pairs of examples with batch norm": (
        "examples: 20, batch_size: 5",
        "examples: 20, batch_size: 5, pairs: 10",
        "measures.normed: pairs needs gradients of single examples, which batch norm (layer '",
    ),
    "constants of the bound with batch norm": (
        "examples: 20, batch_size: 5",
        "examples: 20, batch_size: 5, bound: true",
        "measures.normed: bound needs gradients of single examples, which batch norm (layer '",
    ),
    "sizes too small to impute from": (
        "examples: 20, batch_size: 5",
        "examples: 20, batch_size: 5, sizes: [15, 20]",
        "measures.normed: sizes 15 give fewer than 4 batches of batch_size 5; use batch_size 3 or less.",
    ),
    "exact estimator with batch norm": (
        "batch_size: 5}",
        "batch_size: 5, estimator: exact}",
        "measures.normed.estimator: 'exact' needs gradients of single examples, which batch norm (layer '",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), WRONG.values(), ids=WRONG)
def test_check_refuses_what_cannot_work_before_any_work(called, repository, old, new, message):
    edit(repository, old, new)
    code, messages = called("check")
    assert code == 2
    (told,) = messages
    assert told.startswith("params.yaml, ")
    assert message in told
    assert "\n" not in told
    assert files_of(repository) == ["dvc.yaml", "params.yaml"]


def test_a_network_of_the_users_own_that_fails_is_named_with_what_it_was_given(
    called, repository, tmp_path_factory, monkeypatch
):
    package = tmp_path_factory.mktemp("package")
    (package / "failing_network.py").write_text(
        "def net(input_shape, num_classes, width=8):\n    return input_shape + width\n"
    )
    monkeypatch.syspath_prepend(package)
    edit(repository, "model: mlp", "model: {name: 'failing_network:net', options: {width: wide}}")
    code, (told,) = called("check")
    assert code == 2
    assert told == (
        "params.yaml, runs.plain.model: model 'failing_network:net' raised TypeError: can only concatenate "
        'tuple (not "str") to tuple. It was called with input_shape=(1, 8, 8), num_classes=10, '
        "width='wide'."
    )


def test_check_says_what_is_possible(called, repository):
    told = "params.yaml: 1 variants, 2 runs, 1 of them measured, 0 claims to judge: possible."
    assert called("check") == (0, [told])
    assert files_of(repository) == ["dvc.yaml", "params.yaml"]


@pytest.mark.parametrize("arguments", [["check"], ["train", "--item", "plain"]], ids=" ".join)
def test_a_gpu_that_is_not_there_is_refused(called, repository, arguments, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    edit(repository, "device: cpu", "device: cuda")
    code, (told,) = called(*arguments)
    assert code == 2
    assert told.startswith(
        "params.yaml, device: 'cuda' is asked for, but torch finds no GPU here. Use auto or"
    )


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["train", "--item", "plain"], ["real/manifest.json is not there", "dvc repro -f prepare@real"]),
        (["measure", "--item", "normed"], ["data/runs/normed/run.json", "train --item normed", "dvc repro"]),
        (["report"], ["data/runs/normed/run.json", "train --item normed", "dvc repro"]),
        (["show"], ["reports/claims.json", "make repro"]),
    ],
    ids=["train", "measure", "report", "show"],
)
def test_what_is_missing_is_named_with_what_makes_it(called, arguments, messages):
    code, (told,) = called(*arguments)
    assert code == 2
    assert all(message in told for message in messages), told


def test_a_batch_larger_than_the_training_split_is_refused(called, repository):
    edit(repository, "model: mlp, lr: 0.1, batch_size: 6", "model: mlp, lr: 0.1, batch_size: 41")
    assert called("prepare", "--item", "real")[0] == 0
    code, (told,) = called("train", "--item", "plain")
    assert code == 2
    assert told == (
        "params.yaml, runs.plain.batch_size: 41 examples make one update, but the training split of 'real' "
        "has 40. Use 40 or less."
    )
    assert not (repository / "data/runs").exists()


# --- in processes of their own ------------------------------------------------------------------------


def test_outside_a_repository_the_message_says_where_to_call(tmp_path):
    done = command(tmp_path, "check")
    assert done.returncode == 2
    (line,) = done.stdout.splitlines()
    assert line.startswith(str(tmp_path))
    assert "no dvc.yaml with a params.yaml here or above" in line


def test_a_folder_below_the_repository_does_as_well(repository):
    below = repository / "docs" / "deep"
    below.mkdir(parents=True)
    done = command(below, "prune")
    assert (done.returncode, done.stdout) == (0, "nothing to remove\n")


def test_wrong_input_is_one_line_without_a_traceback(repository):
    edit(repository, "epochs: 1", "epochs: many")
    done = command(repository, "train", "--item", "plain")
    assert done.returncode == 2
    (line,) = done.stdout.splitlines()
    assert line == "params.yaml, runs.normed.epochs: should be an integer, found 'many' (str)."


def test_a_bug_is_code_1_with_its_traceback(repository):
    """And no wrong input: the traceback is what a report of the bug needs."""
    (repository / "reports").mkdir()
    (repository / "reports/claims.json").write_text("[")
    done = command(repository, "show")
    assert done.returncode == 1
    assert "Traceback" in done.stdout
