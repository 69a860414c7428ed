"""params.yaml: what it accepts, and the words in which it refuses."""

from pathlib import Path

import pytest
import yaml

from pipeline.config import Params, load_params, parse_params
from pipeline.errors import InputError

ROOT = Path(__file__).parents[2]

VALID = """
seed: 0
sources:
  digits: {kind: digits}
variants:
  real: {source: digits}
runs:
  a: {variant: real, model: mlp, lr: 0.1, batch_size: 30, epochs: 3}
measures: {}
"""


def refusal(old: str, new: str) -> str:
    assert old in VALID
    with pytest.raises(InputError) as caught:
        parse_params(VALID.replace(old, new, 1), "params.yaml")
    return str(caught.value)


def test_the_valid_file_is_accepted_and_frozen():
    params = parse_params(VALID, "params.yaml")
    assert params.runs["a"].model.name == "mlp"
    with pytest.raises(ValueError, match="frozen"):
        params.seed = 1


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *sorted((ROOT / "profiles").glob("*.yaml"))], ids=str)
def test_every_file_of_the_project_is_accepted(path):
    params = load_params(path)
    assert params.runs or any(params.studies.values())
    assert params.claims


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lr: 0.1", "lr: 0.1, momentun: 0.9", "runs.a.momentun: unknown key. Did you mean 'momentum'?"),
        (
            "kind: digits",
            "kind: digits, clases: 3",
            "sources.digits.clases: unknown key. Did you mean 'classes'?",
        ),
        (
            "epochs: 3",
            "epochs: 3, snapshots: {drip: 0.1}",
            "runs.a.snapshots.drip: unknown key. Did you mean 'drop'?",
        ),
        ("seed: 0", "seed: 0\nsed: 0", "sed: unknown key. Did you mean 'seed'?"),
        ("seed: 0", "", "seed: is missing."),
        ("lr: 0.1", "lr: 1e-3", "runs.a.lr: should be a number, found '1e-3' (str). Write 1.0e-3."),
        ("lr: 0.1", "lr: -1", "runs.a.lr: should be greater than 0, found -1 (int)."),
        ("epochs: 3", "epochs: true", "runs.a.epochs: should be an integer, found True (bool)."),
        ("epochs: 3", "epochs: 2.5", "runs.a.epochs: should be an integer, found 2.5 (float)."),
        (
            "{source: digits}",
            "{source: digits, noise_labels: 1.5}",
            "variants.real.noise_labels: should be less than or equal to 1, found 1.5 (float).",
        ),
        (
            "lr: 0.1",
            "lr: 0.1, aggregation: medain",
            "'medain' is unknown. Did you mean 'median'? Known: mean, median",
        ),
        ("kind: digits", "kind: digist", "'digist' is unknown. Did you mean 'digits'?"),
        (
            "variant: real",
            "variant: reel",
            "runs.a.variant: 'reel' is unknown. Did you mean 'real'? Known: real.",
        ),
        ("source: digits", "source: mnist", "variants.real.source: 'mnist' is unknown. Known: digits."),
        ("  a:", "  a b:", "a name takes letters, digits, '_' and '-' only, found 'a b' (str)."),
        ("measures: {}", "measures: {b: {}}", "measures.b: 'b' is unknown. Known: a."),
        ("measures: {}", "measures: {a: {}}", "run 'a' leaves no snapshots. Add runs.a.snapshots"),
        ("measures: {}", "claims: {CG-1: {real: c}}", "claims.CG-1.real: 'c' is unknown. Known: a."),
        (
            "seed: 0",
            "seed: 0\nprocesses: none",
            "processes: should be auto or an integer of at least 1, found 'none'",
        ),
        ("seed: 0", "seed: 0\nseed: 1", "key 'seed' is written twice"),
        ("runs:", "runs: [", "not valid YAML"),
        ("lr: 0.1", "lr: {{lr}}", "not valid YAML. while constructing a mapping"),
        ("lr: 0.1", "lr: 2020-13-45", "not valid YAML. month must be in 1..12"),
        ("lr: 0.1", "lr: .inf", "runs.a.lr: should be a finite number, found inf (float)."),
        ("real: {source: digits}", "real:", "variants.real: should be a mapping, found None (NoneType)."),
        ("measures: {}", "measures:", "measures: nothing stands below it. For none write: measures: {}"),
        ("kind: digits", "kind: imagefolder, path: x", "kind 'imagefolder' needs image_size"),
        ("kind: digits", "kind: mnist", "kind 'mnist' needs path"),
        ("kind: digits", "kind: digits, download: true", "kind 'digits' has nothing to download"),
        ("kind: digits", "kind: digits, image_size: 16, resize: 8", "resize 8 is smaller than image_size 16"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_work(old, new, message):
    found = refusal(old, new)
    assert message in found
    assert found.startswith("params.yaml")
    assert "\n" not in found


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("batch_size: 31, aggregation: m3", "batch_size 31 is not divisible by 3 micro_batches; 30 is"),
        ("batch_size: 2, aggregation: a3", "batch_size 2 is not divisible by 3 micro_batches; 3 is"),
        (
            "batch_size: 32, aggregation: m3, micro_batches: 4",
            "aggregation 'm3' means 3 micro_batches, found 4",
        ),
        (
            "batch_size: 32, aggregation: median, micro_batches: 2",
            "a median needs at least 3 micro_batches, found 2",
        ),
        ("batch_size: 32, aggregation: winsorized, micro_batches: 2", "winsorizing works on single examples"),
        ("batch_size: 32, winsorize_percent: 2.0", "winsorize_percent needs aggregation: winsorized"),
        ("batch_size: 32, schedule: step", "schedule: step and lr_drop_epochs go together"),
        ("batch_size: 32, snapshots: {epochs: [1, 99]}", "snapshots.epochs has 99, but there are"),
        (
            "batch_size: 32, schedule: cosine, lr_drop_epochs: [3]",
            "schedule: step and lr_drop_epochs go together",
        ),
    ],
)
def test_impossible_combinations_are_refused(keys, message):
    assert message in refusal("batch_size: 30", keys)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("sizes: [50, 600]", "sizes 600 is more than the examples drawn, 500"),
        ("subset_examples: 501", "subset_examples 501 is more than the examples drawn, 500"),
        ("pairs: 501", "pairs 501 is more than the examples drawn, 500"),
        ("pairs: 1", "pairs 1 is no pair; use 2 or more examples, or 0"),
        ("bound: true, splits: [test]", "bound is of the training examples: add train to splits"),
        (
            "estimator: imputed, sizes: [500, 60]",
            "sizes 60 give fewer than 4 batches of batch_size 20; use batch_size 15 or less",
        ),
        ("estimator: imputed, sizes: [2]", "batch_size 20; use 80 or more"),
        ("estimator: imputed, subset_examples: 79", "subset_examples 79 give fewer than 4 batches"),
    ],
)
def test_impossible_measurements_are_refused(keys, message):
    found = refusal("measures: {}", f"measures: {{a: {{{keys}}}}}")
    assert found.startswith("params.yaml, measures.a: ")
    assert message in found


def test_measurements_beside_coherence_are_read():
    text = VALID.replace("epochs: 3", "epochs: 3, snapshots: {}")
    keys = "sizes: [8, 500], subsets: [pristine, corrupt], subset_examples: 80, pairs: 500, bound: true"
    measure = parse_params(text.replace("measures: {}", f"measures: {{a: {{{keys}}}}}"), "p").measures["a"]
    assert (measure.sizes, measure.subsets) == ((8, 500), ("pristine", "corrupt"))


def test_several_mistakes_are_told_at_once():
    text = VALID.replace("lr: 0.1", "lr: 0").replace("epochs: 3", "epochs: 0")
    with pytest.raises(InputError) as caught:
        parse_params(text, "params.yaml")
    assert len(str(caught.value).splitlines()) == 2


def test_m3_and_a3_are_three_micro_batches():
    for name in ("m3", "a3"):
        run = parse_params(VALID.replace("lr: 0.1", f"lr: 0.1, aggregation: {name}"), "p").runs["a"]
        assert (run.micro_batches, run.micro_batch_size, run.takes_median) == (3, 10, name == "m3")


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match=r"no-such\.yaml: cannot be read"):
        load_params(Path("no-such.yaml"))


def test_a_file_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes((VALID + "# Größe").encode("latin-1"))
    with pytest.raises(InputError, match=r"params\.yaml: is not UTF-8 text"):
        load_params(path)


def test_the_first_run_and_measure_of_the_file_show_every_key():
    """The file is the documentation: a new key must be written where users look."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    first = next(iter(values["runs"].values()))
    assert set(first) == set(Params.model_fields["runs"].annotation.__args__[1].model_fields)
    measure = next(iter(values["measures"].values()))
    assert set(measure) == set(Params.model_fields["measures"].annotation.__args__[1].model_fields)
