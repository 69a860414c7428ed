"""L-5 and L-6 read off tables that are as the paper has it, and off tables that are not."""

import json
from collections.abc import Callable

import pytest

from pipeline.claims import LEDGER, validate_claims, validate_comparisons
from pipeline.claims.judge import judge
from pipeline.claims.reading import read_study_items
from pipeline.claims.theorem_5 import FAR, LITTLE, NEAR, NOT
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.stages import report
from pipeline.studies.batch_norm_biases.tables import BIASES, PAPER_VGG19, BiasRow
from pipeline.studies.matrix_dynamics.tables import ROW_NORMS, RowNormRow
from pipeline.studies.tables import write_rows
from pipeline.studies.theorems import checks
from pipeline.studies.theorems.tables import CHECKS, HEAT_MAPS, CheckRow, HeatRow, RecursionRow
from tests.made_up_runs import params, write_curves

PARAMS = """
seed: 0
sources: {digits: {kind: digits}}
variants: {real: {source: digits}}
runs: {net: {variant: real, model: vgg11_bn, lr: 0.1, batch_size: 64, epochs: 10}}
matrix_dynamics: {small: {seeds: 5, steps: 100, points: 2}}
batch_norm_biases: {net: {run: net}}
claims: {L-5: {students: small}, L-6: {network: net}}
"""
# (V_u, V_r) at the start and at the end, as the paper's figure has it.
NORMS = {
    NEAR: ((1.05, 0.62), (1.21, 0.08)),
    LITTLE: ((0.89, 0.83), (1.06, 0.42)),
    NOT: ((0.86, 0.86), (0.9, 0.65)),
    FAR: ((1.05, 0.62), (0.97, 0.46)),
}


def write_norms(layout: Layout, seeds: int = 5, **changed: Callable[[float], float]) -> None:
    """The table of L-5; `changed` by configuration: what becomes of V_r at the end."""
    rows = []
    for name, closeness in {"near": NEAR, "little": LITTLE, "not": NOT, "far": FAR}.items():
        for seed in range(seeds):
            (u, r), (last_u, last_r) = NORMS[closeness]
            last_r = changed.get(name, float)(last_r)
            rows.append(RowNormRow(2, *closeness, seed, 0, u, r, 0.7))
            rows.append(RowNormRow(2, *closeness, seed, 100, last_u, last_r, 0.9))
    write_rows(layout.study("matrix_dynamics", "small") / ROW_NORMS, RowNormRow, rows)


def write_biases(layout: Layout, shares: tuple[int, ...], seeds: int = 3) -> None:
    rows = [
        BiasRow(seed, place, f"features.{place}", 100, share, 0.0)
        for seed in range(seeds)
        for place, share in enumerate(shares, start=1)
    ]
    write_rows(layout.study("batch_norm_biases", "net") / BIASES, BiasRow, rows)


def judged(layout: Layout, claim: str, text: str = PARAMS):
    study = params(text)
    (item,) = study.claims[claim].items()
    built = LEDGER[claim].built
    return judge(LEDGER[claim], {item[0]: read_study_items(layout, study)[built.needs.record(item[1])]})


def failed(found) -> list[str]:
    return [check.reading.name for check in found.checks if check.verdict == "fails"]


def test_row_norms_as_in_the_paper_hold(layout):
    write_norms(layout)
    found = judged(layout, "L-5")
    assert (found.verdict, found.reason, found.seeds) == ("holds", "", 5)
    assert found.headline.middle == pytest.approx(1.13 - 0.43)


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({"near": lambda r: 0.3}, "row norm of V_r at the end, 2x, p_W 1, p_V 1"),
        ({"little": lambda r: 0.8}, "growth of the gap V_u - V_r, 2x, p_W 1, p_V 0.3"),
        ({"not": lambda r: 0.86}, "growth of the gap V_u - V_r, 2x, p_W 1, p_V 0"),
        ({"far": lambda r: 0.1}, "growth of the gap V_u - V_r, 2x, p_W 0.3, p_V 1"),
    ],
)
def test_one_configuration_that_goes_another_way_fails_its_check(layout, changed, check):
    write_norms(layout, **changed)
    assert failed(judged(layout, "L-5")) == [check]


def test_a_seed_that_is_missing_is_a_reason(layout):
    write_norms(layout, seeds=4)
    assert "row_norms.csv has not every seed at 2x" in judged(layout, "L-5").reason


def test_the_papers_vgg19_holds(layout):
    write_biases(layout, PAPER_VGG19)
    found = judged(layout, "L-6")
    assert found.verdict == "holds"
    assert found.headline.middle == pytest.approx(sum(PAPER_VGG19) / 1600)


def test_few_negative_biases_fail_and_so_do_fewer_above(layout):
    write_biases(layout, (10, 20, 30, 40))
    assert failed(judged(layout, "L-6")) == ["share of negative biases, all layers"]
    write_biases(layout, PAPER_VGG19[::-1])
    assert failed(judged(layout, "L-6")) == ["mean share over layers, upper half - lower half"]


def test_one_layer_has_no_depth(layout):
    write_biases(layout, (90,))
    assert "fewer than 2 layers" in judged(layout, "L-6").reason


def check(text: str) -> None:
    study = params(text)
    validate_claims(study.claims)
    validate_comparisons(study)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "points: 2}",
            "points: 2, closeness: [[1.0, 1.0], [1.0, 0.3], [1.0, 0.0]]}",
            "matrix_dynamics.small has no closeness [0.3, 1.0]; this claim compares it with others: add it.",
        ),
        (
            "points: 2}",
            "points: 101}",
            "matrix_dynamics.small: points 101 of a table are more than its steps, 100.",
        ),
        (
            "points: 2}",
            "points: 2, factors: [2, 2]}",
            "matrix_dynamics.small: factors: 2 stands 2 times; write each",
        ),
        ("points: 2}", "points: 2, factors: [1]}", "should be greater than or equal to 2, found 1"),
        ("{run: net}", "{run: nat}", "batch_norm_biases.net.run: 'nat' is unknown. Did you mean 'net'?"),
        ("{run: net}", "{}", "needs one of run, checkpoint and torchvision, found none."),
        ("{run: net}", "{run: net, checkpoint: a.pt}", "found run and checkpoint."),
        ("{run: net}", "{run: net, download: true}", "download is for torchvision only: remove it."),
        ("{run: net}", "{torchvision: vgg19}", "'vgg19' is unknown. Did you mean 'vgg19_bn'?"),
        (
            "{network: net}",
            "{network: small}",
            "'small' is no key of batch_norm_biases; this role needs one.",
        ),
    ],
)
def test_params_that_cannot_be(old, new, message):
    assert old in PARAMS
    with pytest.raises(InputError) as caught:
        check(PARAMS.replace(old, new))
    assert message in str(caught.value)


def test_the_page_draws_both_claims_and_the_checks_of_theory(layout):
    for seed in range(3):
        write_curves(layout, "net", seed, {("train", "all"): [0.1, 0.9], ("test", "all"): [0.1, 0.8]})
    write_norms(layout)
    write_biases(layout, (50, 60, 70))
    found = checks.recursion(
        [RecursionRow("relu", 1, 9, 9, 1.0, 1e-15), RecursionRow("relu", 2, 9, 9, 1.0, 1e-3)]
    )
    cells = [HeatRow(moment, 1, matrix, 0, 0, 1.0) for moment in ("start", "end") for matrix in ("beta", "h")]
    write_rows(layout.study("theorems") / CHECKS, CheckRow, found)
    write_rows(layout.study("theorems") / HEAT_MAPS, HeatRow, cells)
    report.write_report(layout, params(PARAMS))
    page = (layout.reports / "index.html").read_text()
    verdicts = {
        entry["id"]: entry["verdict"] for entry in json.loads((layout.reports / "claims.json").read_text())
    }
    assert (verdicts["L-5"], verdicts["L-6"]) == ("holds", "holds")
    for words in (
        '<h2 id="theory">',
        "by the recursion less autograd",
        "✗ fails",
        "H*, layer 1",
        "Seeds 0, 1, 2.",
    ):
        assert words in page
    assert "<image" not in page
    figures = {path.name for path in (layout.reports / "figures").iterdir()}
    assert {"L-5-2x-1.svg", "L-6-share.svg", "theory-end-h-1.svg"} <= figures


def test_without_the_theorems_the_page_has_no_such_section(layout):
    text = PARAMS[: PARAMS.index("claims:")] + "claims: {}\n"
    write_curves(layout, "net", 0, {("train", "all"): [0.1], ("test", "all"): [0.1]})
    for seed in (1, 2):
        write_curves(layout, "net", seed, {("train", "all"): [0.1], ("test", "all"): [0.1]})
    report.write_report(layout, params(text))
    assert 'id="theory"' not in (layout.reports / "index.html").read_text()
