"""One-step ratios: what params may ask for, how sets are drawn, and how the two sides are compared."""

import math

import numpy as np
import pytest
import torch

from pipeline.config import Osgr, OsgrToy
from pipeline.errors import InputError
from pipeline.studies.osgr.agreement import agree
from pipeline.studies.osgr.descent import pieces
from pipeline.studies.osgr.draws import Pool, PoolDraws, ToyDraws
from pipeline.studies.osgr.networks import build
from pipeline.studies.osgr.tables import PointRow
from tests.made_up_runs import params

GRID = {"sets": 3, "examples": [10, 20], "noise": [0.0, 0.5], "widths": [4], "lr": 0.1, "epochs": [0]}
SPEC = Osgr(network="cnn", variant="any", test_examples=30, **GRID)
PARAMS = """
seed: 0
sources: {digits: {kind: digits}}
variants: {real: {source: digits}}
runs: {}
osgr:
  a:
    network: cnn_bn
    variant: real
    examples: [40]
    noise: [0]
    widths: [4]
    test_examples: 9
    lr: 1
    epochs: [0]
"""


def pool(size: int = 90) -> Pool:
    """Images that are their own index, in three classes."""
    numbers = torch.arange(size, dtype=torch.float32)
    return Pool(numbers[:, None, None, None].expand(-1, 1, 8, 8), np.arange(size) % 3, 3)


def row(lhs: float, rhs: float) -> PointRow:
    return PointRow(0, 10, 0.0, 4, 0, lhs, lhs, rhs, 1.0, 1.0, 1.0, 1.0, "exact")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("examples: [40]", "examples: [40, 40]", "osgr.a: examples [40, 40] do not rise; write each once"),
        ("noise: [0]", "noise: [1.5]", "osgr.a: noise 1.5 is no share of labels; use 0 to 1"),
        ("examples: [40]", "examples: [16]", "in 10 batches leave fewer than 2 in each, too few for batch"),
        ("cnn_bn", "cnn_nb", "'cnn_nb' is unknown. Did you mean 'cnn_bn'?"),
        ("variant: real", "variant: rael", "osgr.a.variant: 'rael' is unknown. Did you mean 'real'?"),
        ("osgr:", "osgr_toy:", "osgr_toy.a.network: unknown key"),
    ],
)
def test_what_params_may_not_ask_for(old, new, message):
    with pytest.raises(InputError) as caught:
        params(PARAMS.replace(old, new, 1))
    assert message in str(caught.value)


def test_sets_are_nested_and_apart_from_the_test_set():
    draws = PoolDraws(SPEC, pool(), 0, 0)
    small, large = draws.data(10, 0.0), draws.data(20, 0.5)
    chosen = large.inputs[..., 0, 0, 0]
    assert torch.equal(small.inputs, large.inputs[:, :10])
    assert all(len(set(each.tolist())) == 20 for each in chosen)
    assert not set(chosen.flatten().tolist()) & set(large.test_inputs[:, 0, 0, 0].tolist())
    assert not torch.equal(chosen[0].sort().values, chosen[1].sort().values)
    assert torch.equal(small.targets, small.inputs[..., 0, 0, 0].long() % 3)


def test_label_noise_is_in_the_test_set_as_in_the_sets_and_belongs_to_the_image():
    draws = PoolDraws(SPEC.model_copy(update={"test_examples": 3000, "examples": (3000,)}), pool(6000), 0, 0)
    data = draws.data(3000, 0.6)
    wrong = data.targets != data.inputs[..., 0, 0, 0].long() % 3
    wrong_test = data.test_targets != data.test_inputs[:, 0, 0, 0].long() % 3
    # Two in three of the labels drawn anew are others: .4, give or take .01 of chance.
    assert wrong.double().mean() == pytest.approx(0.4, abs=0.04)
    assert wrong_test.double().mean() == pytest.approx(0.4, abs=0.04)
    labels = {}
    for image, label in zip(data.inputs[..., 0, 0, 0].flatten(), data.targets.flatten(), strict=True):
        assert labels.setdefault(float(image), int(label)) == int(label)


def test_another_draw_is_another():
    assert not torch.equal(*(PoolDraws(SPEC, pool(), 0, seed).data(10, 0.0).inputs for seed in (0, 1)))


def test_too_few_images_are_told():
    with pytest.raises(InputError, match=r"a set of 20 examples and 30 test_examples need more images than"):
        pool(49).check_enough("params.yaml, osgr.a", SPEC)
    pool(50).check_enough("params.yaml, osgr.a", SPEC)


def test_the_toy_is_a_product_with_noise_of_width_eta():
    draws = ToyDraws(OsgrToy(test_examples=4000, **GRID), 0, 0)
    clean, noisy = draws.data(20, 0.0), draws.data(20, 3.0)
    assert torch.allclose(clean.test_targets, clean.test_inputs.prod(-1), atol=1e-6)
    noise = noisy.test_targets - clean.test_targets
    assert noise.abs().max() <= 3.0
    assert noise.std() == pytest.approx(3 / math.sqrt(3), rel=0.05)


def test_networks_are_the_papers():
    mnist = build(Osgr(network="cnn", variant="any", test_examples=9, **GRID), 6, (1, 28, 28), 10).shapes()
    assert mnist["fc1.weight"] == (150, 240)  # 16 q -> 10 q, q = 15
    spec = Osgr(network="cnn_bn", variant="any", test_examples=9, batches=4, **GRID)
    cifar = build(spec, 6, (3, 32, 32), 10).shapes()
    dense = [shape for name, shape in cifar.items() if name.startswith("fc") and name.endswith("weight")]
    assert dense == [(48, 192), (48, 48), (10, 48)]  # 32 p -> 8 p -> 8 p -> 10


def test_images_too_small_for_a_network_are_told():
    with pytest.raises(InputError, match="images of 8x8 are too small for it"):
        build(SPEC, 4, (1, 8, 8), 10)


def test_pieces_are_all_and_none_too_large():
    parts = list(pieces(10, 4))
    assert [len(range(10)[part]) for part in parts] == [4, 4, 2]
    assert [number for part in parts for number in range(10)[part]] == list(range(10))


def test_agreement_of_a_line():
    found = agree([row(0.0, 0.1), row(0.5, 0.6), row(1.0, 1.1)])
    assert (found.pearson, found.slope) == pytest.approx((1.0, 1.0))
    assert (found.intercept, found.median_error, found.median_rhs) == pytest.approx((0.1, 0.1, 0.6))


def test_agreement_needs_numbers_that_vary():
    opposite = agree([row(0.0, 1.0), row(1.0, 0.0)])
    assert opposite.pearson == pytest.approx(-1.0)
    flat = agree([row(0.0, 1.0), row(1.0, 1.0)])
    assert math.isnan(flat.pearson)
    assert flat.median_error == 0.5
    assert math.isnan(agree([row(0.0, 1.0), row(1.0, math.nan)]).median_error)
    assert math.isnan(agree([]).pearson)
