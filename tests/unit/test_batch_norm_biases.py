"""Counting batch-norm biases in networks whose biases are known, and files that hold no such thing."""

import pytest
import torch
from torch import nn

from models import build
from pipeline.config import parse_params
from pipeline.errors import InputError
from pipeline.studies.batch_norm_biases.study import count
from pipeline.studies.batch_norm_biases.weights import read, weights_of

PARAMS = """
seed: 0
sources: {digits: {kind: digits}}
variants: {real: {source: digits}}
runs:
  net: {variant: real, seeds: 2, model: vgg11_bn, lr: 0.1, batch_size: 64, epochs: 1}
  grid: {variant: real, seeds: 1, model: vgg11_bn, lr: 0.1, batch_size: 64, epochs: 1, vary: {a: {lr: 0.2}}}
batch_norm_biases:
  net: {run: net}
  point: {run: grid.a}
  file: {checkpoint: mine.pt}
  pretrained: {torchvision: vgg11_bn}
"""


@pytest.fixture
def network() -> nn.Module:
    """A VGG whose layers have 1, 2, 3 .. negative biases, zeros and positive ones."""
    network = build("vgg11_bn", {"width_divisor": 16}, (1, 8, 8), 10)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for place, layer in enumerate(layers, start=1):
        nn.init.zeros_(layer.bias)
        with torch.no_grad():
            layer.bias[-1] = 5.0
            layer.bias[: min(place, 3)] = -1.0
    return network


def test_negative_biases_are_counted_layer_by_layer(network):
    rows = count(network.state_dict(), 3, "here")
    assert [row.position for row in rows] == list(range(1, 9))
    assert [row.negative for row in rows] == [1, 2, 3, 3, 3, 3, 3, 3]
    assert [row.biases for row in rows] == [4, 8, 16, 16, 32, 32, 32, 32]
    assert {row.seed for row in rows} == {3}
    assert rows[0].mean == pytest.approx((5 - 1) / 4)
    assert rows[1].share == 2 / 8
    assert all(isinstance(network.get_submodule(row.layer), nn.BatchNorm2d) for row in rows)


def test_a_bias_elsewhere_is_none_of_batch_norms():
    with pytest.raises(InputError, match=r"^here: has no batch-norm layer with biases"):
        count(
            nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.BatchNorm1d(2, affine=False)).state_dict(),
            0,
            "here",
        )


@pytest.mark.parametrize(
    "wrap", [lambda w: w, lambda w: {"state_dict": w, "epoch": 3}, lambda w: {"model": w}]
)
def test_state_dicts_of_many_kinds_are_read(network, tmp_path, wrap):
    torch.save(wrap(network.state_dict()), tmp_path / "a.pt")
    assert len(count(read(tmp_path / "a.pt", "here"), 0, "here")) == 8


def test_safetensors_are_read(network, tmp_path):
    from safetensors.torch import save_file

    save_file(network.state_dict(), tmp_path / "a.safetensors")
    rows = count(read(tmp_path / "a.safetensors", "here"), 0, "here")
    assert sum(row.negative for row in rows) == 21


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pt", None, "a.pt is missing"),
        ("a.pt", b"no weights", "cannot be read as weights"),
        ("a.pt", b"", "cannot be read as weights"),
        ("a.safetensors", b"no weights", "cannot be read as weights"),
    ],
)
def test_a_file_that_is_no_weights(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"^here: .*{message}"):
        read(tmp_path / name, "here")


def test_a_whole_pickled_network_is_not_unpickled(network, tmp_path):
    torch.save(network, tmp_path / "a.pt")
    with pytest.raises(InputError, match="Save a state dict"):
        read(tmp_path / "a.pt", "here")


def test_a_tensor_is_no_state_dict(tmp_path):
    torch.save(torch.zeros(2), tmp_path / "a.pt")
    with pytest.raises(InputError, match="holds Tensor, no state dict"):
        read(tmp_path / "a.pt", "here")


def test_a_run_gives_each_seed_and_a_point_its_own(layout, network):
    params = parse_params(PARAMS, "params.yaml")
    folders = [
        layout.run("net") / "seed-0",
        layout.run("net") / "seed-1",
        layout.run("grid") / "a" / "seed-0",
    ]
    for place, folder in enumerate(folders):
        folder.mkdir(parents=True)
        torch.save({"mark": torch.tensor(place)}, folder / "final.pt")
    assert {seed: int(weights["mark"]) for seed, weights in weights_of(layout, params, "net").items()} == {
        0: 0,
        1: 1,
    }
    assert int(weights_of(layout, params, "point")[0]["mark"]) == 2
    (folders[1] / "final.pt").unlink()
    with pytest.raises(InputError, match=r"is missing\. Run `python -m pipeline train --item net`"):
        weights_of(layout, params, "net")


def test_a_checkpoint_is_found_from_the_repository(layout, network):
    torch.save(network.state_dict(), layout.root / "mine.pt")
    assert len(count(weights_of(layout, parse_params(PARAMS, "params.yaml"), "file")[0], 0, "here")) == 8


def test_pretrained_weights_are_looked_for_and_not_downloaded_unasked(layout, network, monkeypatch, tmp_path):
    params = parse_params(PARAMS, "params.yaml")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        InputError, match=r"vgg11_bn-\w+\.pth is missing\. Put the file of https.*download: true"
    ):
        weights_of(layout, params, "pretrained")
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    from torchvision.models import VGG11_BN_Weights

    name = VGG11_BN_Weights.DEFAULT.url.rpartition("/")[2]
    torch.save(network.state_dict(), tmp_path / "hub/checkpoints" / name)
    assert len(count(weights_of(layout, params, "pretrained")[0], 0, "here")) == 8
