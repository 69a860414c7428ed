"""The harness of benchmarks/gradients.py on a network of a few weights: no time is asserted."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmarks import osgr
from benchmarks.harness.accuracy import WithoutKinks, truth_of, way_errors
from benchmarks.harness.bars import verdicts
from benchmarks.harness.measurement import Options, Row
from benchmarks.harness.networks import NETWORKS, Network, Problem
from benchmarks.harness.results import Coherences, Norms, coherences_of, errors_of
from benchmarks.harness.tables import table, verdict_table
from benchmarks.harness.timing import Timing, time_in_turns
from benchmarks.harness.ways import OURS, PLAIN, STATISTICS, statistics_of
from benchmarks.harness.without_library import loop_moments, loop_norms, torch_func_moments
from benchmarks.winsorized import SELECTIONS, _by_torch_func, _ours, verdict


def _network(shape, num_classes):
    features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(features, nn.Linear(2 * 3 * 3, num_classes))


TINY = Network("tiny", _network, (1, 8, 8), 6, num_classes=3)
TINY_BATCHES = replace(TINY, num_batches=4)


def _row(way, ratio, peak=100, errors=None, statistic="S1"):
    timing = Timing(ratio, ratio, ratio, 3, 0.5)
    return Row("vgg11", statistic, way, timing=timing, peak=peak, errors=errors or {})


@pytest.mark.parametrize("statistic", ["S1", "S2", "imputed"])
def test_every_way_without_a_peer_is_near_the_truth(statistic):
    network = TINY_BATCHES if statistic == "imputed" else TINY
    chosen = STATISTICS[statistic]
    truth = truth_of(chosen.truth, network, "cpu")
    for name, way in chosen.ways.items():
        if way.package is None:
            for error in way_errors(way, truth, network, "cpu").values():
                assert error < 1e-5, name  # float32 through four layers


def test_a_wrong_statistic_has_an_error():
    truth = loop_norms(Problem.of(TINY, dtype=torch.float64))()
    doubled = replace(truth, squares={name: 2 * value for name, value in truth.squares.items()})
    assert errors_of(doubled, truth) == {"squares": pytest.approx(1), "mean": 0}


def test_results_that_cannot_be_compared_are_refused():
    norms = Norms({"fc.weight": torch.ones(())}, {"fc.weight": torch.ones(2)})
    with pytest.raises(ValueError, match=r"tensors \['fc.weight'\] were expected, found \['conv.weight'\]"):
        errors_of(Norms({"conv.weight": torch.ones(())}, {"conv.weight": torch.ones(2)}), norms)
    with pytest.raises(ValueError, match="Norms has no 'm_coherence'"):
        errors_of(Coherences({}, {}), norms)


def test_coherences_follow_from_norms():
    # Two examples with gradients (1, 0) and (0, 1) of a, (2,) and (2,) of b.
    norms = Norms(
        {"a": torch.tensor(2.0), "b": torch.tensor(8.0)},
        {"a": torch.tensor([0.5, 0.5]), "b": torch.tensor([2.0])},
    )
    coherences = coherences_of(norms, num_examples=2)
    assert coherences.m_coherence == {"a": 1, "b": 2}
    assert coherences.share == {"a": pytest.approx(0.2), "b": pytest.approx(0.8)}


def test_moments_do_not_depend_on_how_examples_are_split(monkeypatch):
    problem = Problem.of(TINY, dtype=torch.float64)
    by_one = loop_moments(problem)()
    monkeypatch.setattr("benchmarks.harness.without_library.HELD", {"cpu": 4 * 8 * 77})  # four examples
    for name, variance in torch_func_moments(problem)().variance.items():
        torch.testing.assert_close(variance, by_one.variance[name], rtol=1e-10, atol=0)


def test_a_problem_is_the_same_each_time_in_either_precision():
    single, double = Problem.of(TINY), Problem.of(TINY, dtype=torch.float64)
    assert torch.equal(single.inputs.double(), double.inputs)
    for one, other in zip(single.model.parameters(), double.model.parameters(), strict=True):
        assert torch.equal(one.double(), other)


def test_kinks_are_smoothed_within_and_only_within():
    values = torch.tensor([[[[-1.0, 3.0], [0.0, 2.0]]]])
    with WithoutKinks():
        assert nn.MaxPool2d(2)(values) == 1
        torch.testing.assert_close(nn.ReLU()(values), functional.gelu(values), rtol=0, atol=0)
    assert nn.MaxPool2d(2)(values) == 3
    assert nn.ReLU()(values).min() == 0


@pytest.mark.parametrize("key", NETWORKS)
def test_networks_give_their_classes_and_batch_norm_is_imputed_only(key):
    network = NETWORKS[key]
    with torch.device("meta"):  # shapes without numbers
        model = network.build(network.input_shape, network.num_classes)
        assert model(torch.empty(2, *network.input_shape)).shape == (2, network.num_classes)
    has_batch_norm = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert has_batch_norm == (statistics_of(key) == ("imputed",))


def test_ways_take_turns_and_slow_ones_fewer(monkeypatch):
    seconds = {PLAIN: 1.0, "fast": 2.0, "slow": 10.0}
    now, called = [0.0], []

    def way(name):
        def run():
            called.append(name)
            now[0] += seconds[name]

        return run

    monkeypatch.setattr("gc.collect", lambda: 0)  # of the whole test process: seconds
    monkeypatch.setattr("benchmarks.harness.timing.clock_of", lambda device: lambda: now[0])
    timings = time_in_turns({name: way(name) for name in seconds}, rounds=5, device="cpu")
    assert {name: (t.ratio, t.rounds) for name, t in timings.items()} == {
        PLAIN: (1, 5),
        "fast": (2, 5),
        "slow": (10, 3),
    }
    assert called[3:7] == [PLAIN, "fast", "fast", PLAIN]  # after the warm-up, the first place changes hands


def test_goals_are_met_and_not_met():
    rows = [_row(PLAIN, 1), _row(OURS, 1.05, 110, {"squares": 1e-7, "mean": 2e-6}), _row("fastDP", 1.3)]
    met = {verdict.goal.split(": ")[1]: verdict.is_met for verdict in verdicts(rows, {"vgg11": 0})}
    assert met == {
        "time <= 1.10 x plain": True,
        "not slower than the fastest peer": True,
        "peak memory <= 1.15 x plain": True,
        "relative error of squares <= 1e-06": True,
        "relative error of mean <= 1e-06": False,
    }
    failed = [_row(PLAIN, 1), Row("vgg11", "S1", OURS, failure="GradientError: no")]
    assert [verdict.is_met for verdict in verdicts(failed, {"vgg11": 0})] == [False]
    slower = [_row(PLAIN, 1), _row(OURS, 1.4, 120), _row("fastDP", 1.3)]
    assert not any(verdict.is_met for verdict in verdicts(slower, {"vgg11": 0}))


def test_a_way_that_fails_is_a_dash_with_a_reason():
    reason = "ValueError: no rule for GroupNorm"
    rows = [_row(PLAIN, 1), *(Row("vgg11", "S1", way, failure=reason) for way in ("BackPACK", "Opacus"))]
    lines = "\n".join(table("S1", rows, Options()))
    assert "| VGG-11, 32 px, 64 | plain | 1 (500 ms) | 1 (0 MiB) | - |" in lines
    assert "|  | BackPACK (1) | - | - | - |" in lines
    assert "|  | Opacus (1) | - | - | - |" in lines
    assert lines.endswith("\n\n(1) ValueError: no rule for GroupNorm")


def test_the_table_of_goals_says_which_are_not_met():
    rows = [_row(PLAIN, 1), _row(OURS, 1.2)]
    assert "| 1.200 | **not met** |" in "\n".join(verdict_table(verdicts(rows, {"vgg11": 0})))


@pytest.mark.parametrize("select", SELECTIONS.values(), ids=SELECTIONS)
def test_winsorising_peers_compute_what_ours_does(select):
    network = replace(TINY, batch_size=40)  # 2 % of 39 rounds to 1 a side
    peer = _by_torch_func(select)(Problem.of(network, dtype=torch.float64))()
    ours = _ours(2.0)(Problem.of(network, dtype=torch.float64))()
    plain = _ours(0.0)(Problem.of(network, dtype=torch.float64))()
    for one, other, mean in zip(ours, peer, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)  # rounding of float64
        assert not torch.allclose(one, mean)


def test_the_goal_of_sets_together_is_over_the_default_points():
    def points(*ratios):
        found = {}
        for point, ratio in zip(osgr.POINTS, ratios, strict=False):
            one, others = Timing(1, 1, 1, 3, 0.5), Timing(ratio, ratio, ratio, 3, 0.5 * ratio)
            found[point] = {osgr.TOGETHER: one, osgr.LAYERS: others, osgr.ALONE: others}
        return found

    assert osgr.verdict(points(8, 6, 4, 2)).is_met  # 5 in the mean of equal times
    assert not osgr.verdict(points(8, 6, 4, 1.9, 40)).is_met  # the last is not among the default's


def test_each_way_to_train_sets_can_be_called():
    steps = osgr.the_steps(20, 4, "cpu")
    assert set(steps) == {osgr.TOGETHER, osgr.LAYERS, osgr.ALONE}


def test_the_goal_of_winsorising_is_met_or_not():
    def steps(ratio):
        return {"Concord, 2 %": Timing(ratio, ratio, ratio, 3, 0.5)}

    assert verdict("MLP", steps(6.0)).is_met
    assert not verdict("MLP", steps(6.1)).is_met
