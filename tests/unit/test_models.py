"""Every network of the builder, on the image sizes it is meant for, and what the builder refuses."""

import pytest
import torch
from torch import nn

from models import NAMES, ModelError, build, check
from pipeline.gradients import batch_norm_layers, stochastic_layers

SMALL = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]
LARGE = [(3, 64, 64), (3, 224, 224)]


def output_shape(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    with torch.device("meta"):
        return tuple(model.eval()(torch.zeros(2, *input_shape)).shape)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("input_shape", SMALL + LARGE, ids=str)
def test_every_name_builds_at_every_size(name, input_shape):
    with torch.device("meta"):  # shapes without memory: VGG alone has 140 million weights
        model = build(name, {}, input_shape, 7)
    assert output_shape(model, input_shape) == (2, 7)
    assert stochastic_layers(model) == []
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert bool(batch_norm_layers(model)) == (name.endswith("_bn") or name.startswith("resnet"))


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "vgg11", "alexnet"])
@pytest.mark.parametrize("input_shape", [(3, 9, 23), (1, 17, 16), (4, 40, 33)], ids=str)
def test_images_need_not_be_square(name, input_shape):
    with torch.device("meta"):
        assert output_shape(build(name, {}, input_shape, 3), input_shape) == (2, 3)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet"])
def test_the_same_seed_gives_the_same_weights(name):
    states = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        states.append(build(name, {}, (1, 8, 8), 10).state_dict())
    same, other = ([torch.equal(states[0][key], state[key]) for key in state] for state in states[1:])
    assert all(same)
    assert not all(other)


@pytest.mark.parametrize("name", ["cnn", "resnet", "mlp"])
def test_a_network_learns(name):
    """Forty steps of SGD on a few images of noise: a loss that stays would be a dead network."""
    torch.manual_seed(0)
    model = build(name, {}, (1, 8, 8), 4)
    images, labels = 3 * torch.randn(8, 1, 8, 8), torch.arange(8) % 4
    losses = []
    for _ in range(40):
        model.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.2 * parameter.grad
    assert losses[-1] < 0.9 * losses[0]


def test_options_set_the_widths():
    model = build("mlp", {"widths": [5, 6]}, (1, 8, 8), 3)
    assert [tuple(layer.weight.shape) for layer in model if isinstance(layer, nn.Linear)] == [
        (5, 64),
        (6, 5),
        (3, 6),
    ]
    assert len([m for m in build("mlp", {"widths": []}, (1, 8, 8), 3) if isinstance(m, nn.Linear)]) == 1
    model = build("cnn", {"widths": [3], "dense": []}, (2, 8, 8), 3)
    assert tuple(model.conv1.weight.shape) == (3, 2, 3, 3)
    assert tuple(model.fc1.weight.shape) == (3, 3 * 4 * 4)
    model = build("resnet", {"widths": [8, 12], "blocks": [2, 1]}, (1, 8, 8), 3)
    assert len(model.blocks) == 3
    assert tuple(model.fc.weight.shape) == (3, 12)


def test_the_stem_follows_the_image():
    with torch.device("meta"):
        for side, options, kernel in [
            (32, {}, 3),
            (64, {}, 7),
            (64, {"small_stem": True}, 3),
            (32, {"small_stem": False}, 7),
        ]:
            assert build("resnet18", options, (3, side, side), 10).conv1.kernel_size == (kernel, kernel)


def test_torchvision_networks_of_large_images_are_torchvisions():
    import torchvision

    with torch.device("meta"):
        for name, options in [
            ("alexnet", {"dropout": 0.0}),
            ("vgg11", {"dropout": 0.0}),
            ("vgg16_bn", {"dropout": 0.0}),
            ("resnet50", {}),
        ]:
            ours = build(name, {}, (3, 224, 224), 1000).state_dict()
            theirs = getattr(torchvision.models, name)(**options).state_dict()
            assert {key: value.shape for key, value in ours.items()} == {
                key: value.shape for key, value in theirs.items()
            }


@pytest.mark.parametrize(
    ("name", "input_shape"),
    [
        ("timm:resnet10t", (1, 32, 32)),
        ("timm:vit_tiny_patch16_224", (3, 32, 32)),
        ("timm:mobilenetv3_small_050", (3, 32, 32)),
    ],
)
def test_timm_networks_take_the_size_of_the_data(name, input_shape):
    torch.manual_seed(0)
    model = build(name, {}, input_shape, 5)
    assert tuple(model.eval()(torch.zeros(2, *input_shape)).shape) == (2, 5)
    assert stochastic_layers(model) == []
    torch.manual_seed(0)
    again = build(name, {}, input_shape, 5).state_dict()
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())


def test_timm_says_what_is_wrong():
    with pytest.raises(ModelError, match=r"'resnet5O' is unknown. Did you mean 'resnet50'\?"):
        check("timm:resnet5O", {})
    with pytest.raises(ModelError, match="unexpected keyword argument 'wdith'"):
        build("timm:resnet10t", {"wdith": 3}, (3, 32, 32), 5)
    with pytest.raises(ModelError, match="vit_tiny_patch16_224"):
        build("timm:vit_tiny_patch16_224", {}, (3, 8, 8), 5)
    with pytest.raises(ModelError, match=r"drop units at random.*rates at 0"):
        build("timm:vit_tiny_patch16_224", {"drop_path_rate": 0.1}, (3, 32, 32), 5)


OWN = """
from torch import nn

def good(input_shape, num_classes, width=4):
    c, h, w = input_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, width), nn.Linear(width, num_classes))

def wrong(input_shape, num_classes):
    return nn.Flatten()

def broken(input_shape, num_classes):
    return nn.Linear(7, num_classes)

def dropping(input_shape, num_classes):
    return nn.Sequential(good(input_shape, num_classes), nn.Dropout(0.3))

def nothing(input_shape, num_classes):
    return None

def raising(input_shape, num_classes, width=4):
    raise LookupError(f"no {width}\\nanywhere.")

class Stumbling(nn.Flatten):
    def forward(self, images):
        return self.wieght * images

def stumbling(input_shape, num_classes):
    return Stumbling()
"""


def test_the_users_own_network(tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(OWN)
    (tmp_path / "unfinished_networks.py").write_text("good = (")
    monkeypatch.syspath_prepend(tmp_path)
    model = build("own_networks:good", {"width": 6}, (1, 8, 8), 3)
    assert tuple(model(torch.zeros(2, 1, 8, 8)).shape) == (2, 3)
    for name, options, message in [
        ("own_networks:god", {}, "Did you mean 'good'"),
        ("own_networks:good", {"widht": 6}, r"option 'widht' is unknown. Did you mean 'width'\?"),
        ("own_networks:wrong", {}, r"should give \(2, 3\) outputs, found \(2, 64\)"),
        ("own_networks:broken", {}, "cannot take images 1x8x8"),
        ("own_networks:dropping", {}, "layers 1 drop units at random"),
        ("own_networks:nothing", {}, "should return a torch.nn.Module, found NoneType"),
        (
            "own_networks:raising",
            {"width": 6},
            r"^model 'own_networks:raising' raised LookupError: no 6 anywhere\. It was called with "
            r"input_shape=\(1, 8, 8\), num_classes=3, width=6\.$",
        ),
        ("own_networks:stumbling", {}, "images 1x8x8: AttributeError: .* no attribute 'wieght'"),
        ("no_such_module:good", {}, "cannot import 'no_such_module'.*PYTHONPATH"),
        (
            "unfinished_networks:good",
            {},
            "importing 'unfinished_networks' raised SyntaxError: .*never closed",
        ),
    ]:
        with pytest.raises(ModelError, match=message):
            build(name, options, (1, 8, 8), 3)


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "vgg11_bn"])
def test_a_width_divisor_divides_every_width(name):
    whole = build(name, {}, (1, 8, 8), 3).state_dict()
    narrow = build(name, {"width_divisor": 4}, (1, 8, 8), 3).state_dict()
    last = list(whole)[-1].rsplit(".", 1)[0]
    for key, tensor in whole.items():
        if tensor.ndim and not key.startswith(last):
            assert narrow[key].shape[0] == tensor.shape[0] // 4
    with pytest.raises(ModelError, match="should be 1 to 32, found 64"):
        build(name, {"width_divisor": 64}, (1, 8, 8), 3)
    with pytest.raises(ModelError, match="is for images below"):
        build(name, {"width_divisor": 2}, (3, 64, 64), 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("restnet", {}, r"model 'restnet' is unknown. Did you mean 'resnet'\? Known: .*timm:NAME"),
        ("mlp", {"width": [3]}, r"option 'width' is unknown. .* Known: batch_norm, widths\."),
        ("vgg11", {"width": 3}, r"option 'width' is unknown\. Known: width_divisor\."),
        ("mlp", {"widths": 3}, "'widths' should be a list of whole numbers of 1 or more, found 3"),
        ("mlp", {"widths": [3, 0]}, "found \\[3, 0\\]"),
        ("mlp", {"widths": [True]}, "found \\[True\\]"),
        ("resnet18", {"small_stem": "yes"}, "should be true or false or 'auto', found 'yes'"),
    ],
)
def test_names_and_options_are_checked_before_anything_is_built(name, options, message):
    with pytest.raises(ModelError, match=message):
        check(name, options)
    with pytest.raises(ValueError, match=message):
        build(name, options, (1, 8, 8), 3)


def test_errors_open_with_where():
    with pytest.raises(ModelError, match=r"^runs\.a\.model 'mlp': option 'width'"):
        check("mlp", {"width": 3}, where="runs.a.model")


@pytest.mark.parametrize(
    ("name", "options", "input_shape", "message"),
    [
        ("cnn", {}, (1, 3, 8), "images of 3x8 pixels are too small; use 4x4 or more"),
        ("cnn", {"widths": []}, (1, 8, 8), "use model 'mlp'"),
        ("resnet", {}, (1, 2, 2), "use 4x4 or more .image_size: 4., or fewer stages than 3"),
        ("resnet", {"widths": [4, 4]}, (1, 8, 8), "found 2 widths and 3 blocks"),
        ("alexnet", {}, (3, 7, 7), "use 8x8 or more"),
        ("vgg11", {}, (3, 7, 7), "use 8x8 or more"),
        ("resnet18", {"small_stem": False}, (3, 16, 16), "use 32x32 or more.*or small_stem: true"),
        ("mlp", {}, (8, 8), r"input_shape should be \(channels, height, width\), found \(8, 8\)"),
    ],
)
def test_impossible_sizes_say_what_would_work(name, options, input_shape, message):
    with pytest.raises(ModelError, match=message):
        build(name, options, input_shape, 3)


def test_one_class_is_refused():
    with pytest.raises(ModelError, match="needs 2 classes or more, found 1"):
        build("mlp", {}, (1, 8, 8), 1)
