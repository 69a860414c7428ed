"""The parts of the study of learning: settings, what has no number, what is left out, what repeats."""

import math
from dataclasses import replace

import pytest
import torch

from pipeline.config import Regression, Weights, parse_params
from pipeline.errors import InputError
from pipeline.studies.learning import frozen, shallow, weights
from pipeline.studies.learning.dense import Layer
from pipeline.studies.learning.tables import FROZEN, UNFROZEN

BASE = "seed: 0\nsources: {digits: {kind: digits}}\nvariants: {real: {source: digits}}\nruns: {}\n"
SMALL = Regression(seeds=2, hidden=5, train_examples=30, test_examples=10, init_scale=1.0, steps=10, every=5)


@pytest.mark.parametrize(
    ("section", "item", "message"),
    [
        (
            "learning",
            "{kind: shalow, variant: real}",
            "learning.a.kind: 'shalow' is unknown. Did you mean 'sh",
        ),
        ("learning", "{variant: real}", "learning.a.kind: is missing."),
        ("learning", "{kind: shallow, variant: rael}", "learning.a.variant: 'rael' is unknown. Did you mean"),
        (
            "learning",
            "{kind: weights, variant: real, lrr: 1}",
            "learning.a.lrr: unknown key. Did you mean 'lr'",
        ),
        (
            "learning",
            "{kind: shallow, variant: real, widths: [3]}",
            "learning.a.widths: unknown key. Known: ch",
        ),
        (
            "learning",
            "{kind: shallow, variant: real, lr: -1}",
            "learning.a.lr: should be greater than 0, found",
        ),
        (
            "learning",
            "{kind: weights, variant: real, first_term: {width: [1]}}",
            "learning.a.first_term.width: unknown key. Did you mean 'widths'? Known: examples, steps, w",
        ),
        (
            "learning",
            "{kind: shallow, variant: real, checkpoints: [0, 3, 3]}",
            "learning.a.checkpoints: [0, 3, 3] do not rise; write each once, the smallest first.",
        ),
        ("regression", "{hiden: 3}", "regression.a.hiden: unknown key. Did you mean 'hidden'?"),
        ("regression", "{train_examples: 3}", "regression.a.train_examples: should be greater than or equal"),
    ],
)
def test_settings_that_cannot_be(section, item, message):
    with pytest.raises(InputError) as caught:
        parse_params(f"{BASE}{section}:\n  a: {item}\n", "params.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "first", "every", "expected"),
    [(10, 3, 4, (0, 1, 2, 3, 4, 8, 10)), (2, 50, 10, (0, 1, 2)), (6, 1, 3, (0, 1, 3, 6))],
)
def test_which_steps_have_rows(steps, first, every, expected):
    spec = Weights(kind="weights", variant="real", steps=steps, first_steps=first, every=every)
    assert spec.recorded == expected


def test_a_frozen_first_layer_keeps_its_features():
    """The correlations of its features never move; those of the learning one do."""
    found = list(frozen.states(SMALL, 1))
    first, last = (torch.nan_to_num(state.correlations) for state in (found[0], found[-1]))
    assert torch.equal(first[SMALL.seeds :], last[SMALL.seeds :])
    assert not torch.equal(first[: SMALL.seeds], last[: SMALL.seeds])
    assert torch.equal(first[: SMALL.seeds], first[SMALL.seeds :])  # from the same start


def test_a_seed_does_not_depend_on_how_many_there_are():
    alone, both = (frozen.follow(replace_seeds(SMALL, number), 1) for number in (1, 2))
    first = [row.gsnr for row in both.curves if row.seed == 0]
    # Products of more matrices at once may round otherwise.
    assert [row.gsnr for row in alone.curves] == pytest.approx(first, rel=1e-9, nan_ok=True)
    assert [row.first_layer for row in alone.means] == [UNFROZEN] * 3 + [FROZEN] * 3


def replace_seeds(spec: Regression, seeds: int) -> Regression:
    return spec.model_copy(update={"seeds": seeds})


def test_a_dead_feature_has_no_gsnr_and_is_left_out(monkeypatch):
    def dead(spec, root_seed, device="cpu"):
        first, second = start(spec, root_seed, device)
        bias = first.bias.clone()
        bias[:, 2] = -10  # never above 0 on [-1, 1]²
        return Layer(first.weight, bias), second

    start = frozen.start
    monkeypatch.setattr(frozen, "start", dead)
    found = frozen.follow(SMALL, 1)
    assert all(math.isnan(row.gsnr) for row in found.curves if row.parameter == "2")
    assert all(row.num_undefined >= 1 and math.isfinite(row.gsnr) for row in found.means)
    feature = found.features[2]
    assert (feature.feature, feature.peak_step) == (2, 0)
    assert math.isnan(feature.peak_correlation)
    assert math.isnan(feature.peak_gsnr)


def test_gsnr_without_a_signal_debiases_to_nothing():
    gradients = torch.randn(1, 400, 2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean = frozen.debias(frozen.gsnr(gradients).mean(), 400)
    assert abs(mean.item()) < 5 / 400 / 2000**0.5 * 2**0.5  # five standard errors of a mean of squares


def test_weights_that_have_nothing_to_do_with_gradients():
    """No correlation, half of them opposed: nothing is built into the numbers."""
    source = torch.Generator().manual_seed(0)
    w, g, dg = (torch.randn(200, 50, generator=source) for _ in range(3))
    found = weights.compare(w, g, dg)
    assert abs(found["correlation"]) < 0.05  # five standard errors of 10,000 pairs
    assert abs(found["correlation_top"]) < 0.16  # of 1,000
    assert abs(found["opposed"] - 0.5) < 0.025
    assert abs(found["opposed_top"] - 0.5) < 0.08


def test_exact_zeros_are_left_out():
    w = torch.tensor([[1.0, -2.0, 3.0, 4.0]])
    found = weights.compare(w, torch.tensor([[-1.0, 1.0, 0.0, 1.0]]), torch.tensor([[1.0, 2.0, 0.0, 0.0]]))
    assert found["unchanged"] == 2
    assert found["correlation"] == pytest.approx(-1)
    assert found["opposed"] == pytest.approx(2 / 3)
    assert found["opposed_top"] == 0  # the largest |W| with a sign is 4


def test_nothing_left_has_no_number():
    zeros = torch.zeros(2, 2)
    found = weights.compare(torch.ones(2, 2), zeros, zeros)
    assert found.pop("weights") == found.pop("unchanged") == 4
    assert all(map(math.isnan, found.values()))


def test_pieces_of_a_training_set_give_the_gradient_of_the_whole(monkeypatch):
    spec = weights.Examples(torch.randn(23, 4, dtype=torch.float64), torch.arange(23) % 3)
    generator = torch.Generator().manual_seed(0)
    networks = tuple(
        Layer(
            torch.randn(1, c, s, dtype=torch.float64, generator=generator),
            torch.zeros(1, c, dtype=torch.float64),
        )
        for s, c in ((4, 6), (6, 3))
    )
    whole, _ = weights.follow(networks, spec, spec, 0.1, [0, 3])
    monkeypatch.setattr(weights, "CHUNK", 7)
    pieces, _ = weights.follow(networks, spec, spec, 0.1, [0, 3])
    for one, other in zip(whole, pieces, strict=True):
        assert other == replace(one, correlation=other.correlation, correlation_top=other.correlation_top)
        assert other.correlation == pytest.approx(one.correlation, rel=1e-9)  # sums in another order


def test_a_linear_model_starts_from_zero():
    inputs, labels = torch.randn(40, 3), torch.arange(40) % 2
    for model, loss in (("logistic", math.log(2)), ("svm", 2.0), ("svm_crammer_singer", 1.0)):
        first, last = shallow.follow(model, 0, inputs, labels, 2, 0.1, (0, 5))
        assert first.train_loss == pytest.approx(loss)
        assert last.train_loss < loss
