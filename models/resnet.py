"""Small residual network with batch norm, for small images and any width."""

from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError, require_side


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut (He et al. 2016, arXiv 1512.03385, fig. 2)."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """`(b, channels_in, h, w) -> (b, channels, ceil(h / stride), ceil(w / stride))`."""
        hidden = functional.relu(self.bn1(self.conv1(inputs)))
        return functional.relu(self.bn2(self.conv2(hidden)) + self.shortcut(inputs))


class SmallResNet(nn.Module):
    """A 3x3 stem, stages of residual blocks, global average pooling and one linear layer."""

    def __init__(self, channels: int, num_classes: int, widths: tuple[int, ...], blocks: tuple[int, ...]):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        stages, channels = [], widths[0]
        for stage, (width, depth) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(ResidualBlock(channels, width, stride))
                channels = width
        self.blocks = nn.Sequential(*stages)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """`(b, c, h, w) -> (b, num_classes)`."""
        hidden = functional.relu(self.bn1(self.conv1(images)))
        return self.fc(self.blocks(hidden).mean(dim=(2, 3)))


def resnet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    widths: tuple[int, ...] = (16, 32, 64),
    blocks: tuple[int, ...] = (1, 1, 1),
) -> nn.Module:
    """A residual network of `len(widths)` stages with `blocks[s]` blocks of `widths[s]` channels.

    The first block of each stage after the first halves the image. Convolutions start from Kaiming's normal
    initialisation (fan out), as in torchvision's ResNets.
    """
    if len(widths) != len(blocks) or not widths:
        raise ModelError(
            "model 'resnet': options 'widths' and 'blocks' need one entry for each stage, found "
            f"{len(widths)} widths and {len(blocks)} blocks."
        )
    remedy = f"fewer stages than {len(widths)}"
    require_side("resnet", input_shape, 2 ** (len(widths) - 1), remedy)
    return SmallResNet(input_shape[0], num_classes, tuple(widths), tuple(blocks))
