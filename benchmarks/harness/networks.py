"""The networks and batches on which the ways are compared."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models import build

SMALL_IMAGE = (3, 32, 32)


@dataclass(frozen=True)
class Network:
    """A network at one image size, with the batch it is measured on."""

    title: str
    build: Callable[[tuple[int, int, int], int], nn.Module]  # (input shape, classes)
    input_shape: tuple[int, int, int]
    batch_size: int
    num_classes: int = 10
    num_batches: int = 1

    def resized(self, image_size: int | None, batch_size: int | None) -> "Network":
        """The same network for other square images or another batch, where these are given."""
        channels, height, width = self.input_shape
        shape = (channels, image_size or height, image_size or width)
        return replace(self, input_shape=shape, batch_size=batch_size or self.batch_size)


@dataclass(frozen=True)
class Problem:
    """Weights and data: the same each time they are made for a network, so that each way has its own."""

    model: nn.Module
    inputs: Tensor  # (num_batches b, c, h, w)
    targets: Tensor  # (num_batches b,)
    batch_size: int

    @classmethod
    def of(cls, network: Network, device: str = "cpu", dtype: torch.dtype = torch.float32) -> "Problem":
        """Weights and data are drawn in float32, and are therefore the same in float64."""
        torch.manual_seed(0)
        model = network.build(network.input_shape, network.num_classes)
        num_examples = network.batch_size * network.num_batches
        inputs = torch.randn(num_examples, *network.input_shape)
        targets = torch.randint(network.num_classes, (num_examples,))
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # the hooks of Opacus and BackPACK do not work on what is overwritten
        model = model.to(device, dtype).train()
        return cls(model, inputs.to(device, dtype), targets.to(device), network.batch_size)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """By name, in the model's order."""
        return dict(self.model.named_parameters())

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The data, `size` examples at a time."""
        return zip(self.inputs.split(size), self.targets.split(size), strict=True)


def _mlp(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return build("mlp", {"widths": (256, 256, 256)}, shape, num_classes)


def _mnist_cnn(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    features = nn.Sequential(
        nn.Conv2d(shape[0], 12, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 30, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip
    width = features(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(features, nn.Linear(width, 300), nn.ReLU(), nn.Linear(300, num_classes))


def _named(name: str) -> Callable[[tuple[int, int, int], int], nn.Module]:
    return lambda shape, num_classes: build(name, {}, shape, num_classes)


def _resnet18(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """ResNet-18 with the stem for small images. Ours: nothing in it is in place, as peers need it."""
    options = {"widths": (64, 128, 256, 512), "blocks": (2, 2, 2, 2)}
    return build("resnet", options, shape, num_classes)


def _resnet18_group_norm(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """The same with GroupNorm of 32 groups in place of batch norm."""
    model = _resnet18(shape, num_classes)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.GroupNorm(32, child.num_features))
    return model


NETWORKS: dict[str, Network] = {
    "mlp": Network("MLP 784-256x3-10", _mlp, (1, 28, 28), 100),
    "cnn": Network("MNIST CNN", _mnist_cnn, (1, 28, 28), 250),
    "vgg11": Network("VGG-11, 32 px", _named("vgg11"), SMALL_IMAGE, 64),
    "alexnet": Network("AlexNet, 32 px", _named("alexnet"), SMALL_IMAGE, 128),
    "resnet18_gn": Network("ResNet-18 with GroupNorm, 32 px", _resnet18_group_norm, SMALL_IMAGE, 64),
    "resnet18_bn": Network("ResNet-18 with batch norm, 32 px", _resnet18, SMALL_IMAGE, 64, num_batches=4),
    "alexnet_224": Network("AlexNet, 224 px", _named("alexnet"), (3, 224, 224), 256, 1000),
    "vgg11_224": Network("VGG-11, 224 px", _named("vgg11"), (3, 224, 224), 256, 1000),
    "resnet50_224": Network("ResNet-50, 224 px", _named("resnet50"), (3, 224, 224), 256, 1000, num_batches=4),
}
IMPUTED = ("resnet18_bn", "resnet50_224")  # batch norm: measured by imputation only
ON_CPU = ("mlp", "cnn", "vgg11", "alexnet", "resnet18_gn", "resnet18_bn")
ON_GPU = ("alexnet_224", "vgg11_224", "resnet50_224")
