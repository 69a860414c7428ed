"""Claims that are read off an item of a study that stands in params, from the file to the page."""

import json
from dataclasses import dataclass

import pytest

from pipeline.claims import LEDGER, validate_claims, validate_comparisons
from pipeline.claims.claim import Built, Claim, Needs, Reading, Records
from pipeline.claims.judge import judge
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.reporting.figures import DRAWINGS
from pipeline.reporting.panels import Shown, make_panel
from pipeline.stages import prune, report
from pipeline.studies.tables import write_rows
from tests.made_up_runs import params

PARAMS = """
seed: 0
sources: {digits: {kind: digits}}
variants: {real: {source: digits}}
runs: {net: {variant: real, model: mlp, lr: 0.1, batch_size: 64, epochs: 10}}
osgr_toy:
  small: &toy {examples: [50], noise: [0.2], widths: [6], test_examples: 100, lr: 0.001, epochs: [20]}
  large: {<<: *toy, sets: 20}
osgr:
  images: {<<: *toy, network: cnn, variant: real, noise: [0.5]}
claims:
  G-3: {toy: small}
"""
MADE_UP = "numbers.csv"


@dataclass(frozen=True, slots=True)
class Number:
    """A row of the table that the made-up study leaves."""

    seed: int
    value: float


def read(records: Records) -> tuple[Reading, ...]:
    rows = records["toy"].rows(MADE_UP, Number)
    return (Reading("a number", tuple(row.value for row in rows), ">=", 1.0),)


def large(spec) -> str:
    return "" if spec.sets < 20 else f"has {spec.sets} sets; this role needs fewer"


def draw(claim: str, items: Records) -> Shown:
    values = [row.value for row in items["toy"].rows(MADE_UP, Number)]
    return Shown(
        (make_panel(f"{claim}-numbers", "Numbers", lambda axes: axes.plot(values)),), ("As made up.",)
    )


@pytest.fixture(autouse=True)
def claim(monkeypatch) -> Claim:
    """A claim on an item of `osgr_toy`, in the ledger for one test."""
    built = Built(("toy",), read, needs=Needs(study="osgr_toy", wrong=large))
    made_up = Claim("G-3", "GSNR", "nowhere", "Numbers are one.", "one", built=built)
    monkeypatch.setitem(LEDGER, "G-3", made_up)
    monkeypatch.setitem(DRAWINGS, "G-3", draw)
    return made_up


def valid(text: str) -> None:
    study = params(text)
    validate_claims(study.claims)
    validate_comparisons(study)


def refused(old: str, new: str) -> str:
    assert old in PARAMS
    with pytest.raises(InputError) as caught:
        valid(PARAMS.replace(old, new))
    return str(caught.value)


def checkout(folder) -> Layout:
    """A run and an item that were never made."""
    from tests.made_up_runs import write_curves

    layout = Layout(folder)
    for seed in range(3):
        write_curves(layout, "net", seed, {("train", "all"): [0.1, 0.9], ("test", "all"): [0.1, 0.8]})
    write_rows(layout.study("osgr_toy", "small") / MADE_UP, Number, [Number(seed, 1.5) for seed in range(3)])
    return layout


def test_an_item_that_fits_is_valid():
    valid(PARAMS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("toy: small}", "toy: smal}", "claims.G-3.toy: 'smal' is unknown. Did you mean 'small'?"),
        (
            "toy: small}",
            "toy: net}",
            "claims.G-3.toy: 'net' is no key of osgr_toy; this role needs one. There are sm",
        ),
        ("toy: small}", "toy: large}", "osgr_toy.large has 20 sets; this role needs fewer."),
        (
            "toy: small}",
            "toy: images}",
            "'images' is no key of osgr_toy; this role needs one. There are small,",
        ),
        (
            "variant: real, noise: [0.5]}\nclaims",
            "variant: rael, noise: [0.5]}\nclaims",
            "osgr.images.variant: 'rael' is unknown. Did you",
        ),
        (
            "G-3: {toy: small}",
            "G-3: {}",
            "claims.G-3.toy: is missing. G-3 is read off one item: name the item of",
        ),
        (
            "G-3: {toy: small}",
            "CG-1: {real: small, noise: net}",
            "'small' is an item of a study; this role needs a",
        ),
        (
            "G-3: {toy: small}",
            "CG-6: {split: small}",
            "'small' is an item of a study; this role needs a split",
        ),
    ],
)
def test_an_item_that_does_not_fit(old, new, message):
    assert message in refused(old, new)


def test_a_section_may_use_the_name_of_a_run(tmp_path):
    layout, text = checkout(tmp_path), PARAMS.replace("small", "net")
    layout.study("osgr_toy", "small").rename(layout.study("osgr_toy", "net"))
    report.write_report(layout, params(text))
    entries = {entry["id"]: entry for entry in json.loads((layout.reports / "claims.json").read_text())}
    assert entries["G-3"]["verdict"] == "holds"


def test_the_report_judges_draws_and_names_the_item(tmp_path):
    layout = checkout(tmp_path)
    report.write_report(layout, params(PARAMS))
    page = (layout.reports / "index.html").read_text()
    assert '<h2 id="G-3">' in page
    assert (layout.reports / "figures" / "G-3-numbers.svg").is_file()
    for words in (
        "toy: osgr_toy small: examples: [50], noise: [0.2]",
        "lr: 0.001",
        "Seeds 0, 1, 2.",
    ):
        assert words in page


def test_a_missing_table_names_the_stage_and_its_item(tmp_path):
    layout = checkout(tmp_path)
    (layout.study("osgr_toy", "small") / MADE_UP).unlink()
    with pytest.raises(InputError, match=r"is missing\. Run `python -m pipeline osgr_toy --item small`"):
        report.write_report(layout, params(PARAMS))


def test_without_an_item_the_claim_says_which_it_needs(claim):
    found = judge(claim, {})
    assert found.verdict == "not run"
    assert found.reason == "params.yaml names no items of osgr_toy for it: claims.G-3 needs toy"


def test_what_params_no_longer_name_is_not_read_and_pruned(tmp_path):
    layout = checkout(tmp_path)
    stale = layout.study("osgr_toy", "old") / MADE_UP
    write_rows(stale, Number, [])
    report.write_report(layout, params(PARAMS))
    prune.run(layout, params(PARAMS), None)
    assert not stale.exists()
    assert (layout.study("osgr_toy", "small") / MADE_UP).is_file()
