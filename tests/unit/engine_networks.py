"""Small networks with parts in odd places: what the cases of the engine are made of."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class Calling(nn.Module):
    """A network of some parts, and the function that runs them."""

    def __init__(self, run: Callable[["Calling", Tensor], Tensor], **parts: nn.Module | Tensor):
        super().__init__()
        self._run = run
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)

    def forward(self, inputs: Tensor) -> Tensor:
        return self._run(self, inputs)


def layer(made: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The layer alone, with parameters that are all different."""

    def make() -> nn.Module:
        model = made()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.5 + 0.1)
        return model

    return make


def calling(run: Callable[[Calling, Tensor], Tensor], **parts: Callable[[], nn.Module | Tensor]):
    """Makes a `Calling` with new parts each time."""
    return layer(lambda: Calling(run, **{name: part() for name, part in parts.items()}))


def linear(*sizes: int, **options) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(*sizes, **options)


def values(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(shape)


def attention(first: str, **options) -> Callable[[], nn.Module]:
    """Multi-head attention with the batch first or second."""
    if first == "batch":
        run = lambda self, x: self.inner(x, x, x)[0]  # noqa: E731
    else:
        run = lambda self, x: self.inner(*[x.transpose(0, 1)] * 3)[0].transpose(0, 1)  # noqa: E731
    return calling(run, inner=lambda: nn.MultiheadAttention(6, 2, batch_first=first == "batch", **options))


def windows(self: Calling, images: Tensor) -> Tensor:
    """A dense layer on windows 2 x 2 of images `(b, h, w, c)`, as Swin cuts them."""
    b, h, w, c = images.shape
    cut = images.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
    return self.inner(cut).view(b, h // 2, w // 2, 2, 2, -1).permute(0, 1, 3, 2, 4, 5)


def windows_first(self: Calling, images: Tensor) -> Tensor:
    """The same with all examples of one window after each other."""
    b, h, w, c = images.shape
    cut = images.view(b, h // 2, 2, w // 2, 2, c).permute(1, 3, 0, 2, 4, 5).reshape(-1, 4, c)
    found = self.inner(self.norm(cut)) * self.scale
    return found.view(h // 2, w // 2, b, 2, 2, -1).permute(2, 0, 1, 3, 4, 5)


def windows_around(self: Calling, images: Tensor) -> Tensor:
    """Examples between rows and columns of windows: outer and inner of their layout are both above one."""
    b, h, w, c = images.shape
    cut = images.view(b, h // 2, 2, w // 2, 2, c).permute(1, 0, 3, 2, 4, 5).reshape(-1, 4, c)
    found = self.inner(self.norm(cut)) * self.scale
    return found.view(h // 2, b, w // 2, 2, 2, -1).permute(1, 0, 2, 3, 4, 5)


def class_token(self: Calling, tokens: Tensor) -> Tensor:
    """A class token in front, positions added, and the class token alone read out, as in a ViT."""
    b, t, _ = tokens.shape
    joined = torch.cat([self.token.expand(b, -1, -1), tokens], dim=1) + self.positions[:, : t + 1]
    joined = joined + self.scale * self.mix(self.norm(joined)).tanh()
    joined = joined + self.attend(joined, joined, joined)[0]
    return self.head(joined[:, 0])


def relative_bias(self: Calling, tokens: Tensor) -> Tensor:
    """Attention of four tokens with a table of biases by distance, as in Swin."""
    distance = torch.arange(4)[:, None] - torch.arange(4)[None] + 3
    bias = self.table[distance.flatten()].view(4, 4, 2).permute(2, 0, 1)  # (heads, t, t)
    scores = torch.einsum("bid,bjd->bij", tokens, tokens).unsqueeze(1) * self.scale.exp() + bias
    return scores.softmax(dim=-1) @ self.value(tokens).unsqueeze(1)


def standardised(self: Calling, images: Tensor) -> Tensor:
    """Convolution by a weight of mean 0 and variance 1, scaled by a gain."""
    weight = self.inner.weight
    mean, variance = weight.mean((1, 2, 3), keepdim=True), weight.var((1, 2, 3), keepdim=True)
    weight = (weight - mean) * (variance + 1e-3).rsqrt() * self.gain
    return functional.conv2d(images, weight, self.inner.bias, padding=1)


def concatenated_bias(self: Calling, tokens: Tensor) -> Tensor:
    """Queries and values with a bias, keys without, in one product, as in BEiT."""
    bias = torch.cat([self.query, torch.zeros_like(self.query), self.value])
    return functional.linear(tokens, self.inner.weight, bias)


class Squared(torch.autograd.Function):
    """weight * x**2, an operation the engine has no rule for."""

    @staticmethod
    def forward(ctx, inputs: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return inputs.square() * weight

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        inputs, weight = ctx.saved_tensors
        return 2 * gradient * inputs * weight, (gradient * inputs.square()).sum(0)


def frozen(model: nn.Module, *names: str) -> nn.Module:
    """The model with these parameters frozen."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in names)
    return model


def in_evaluation(made: Callable[[], nn.Module], shape: tuple[int, ...]) -> Callable[[], nn.Module]:
    """A layer with running statistics of its own, in evaluation mode."""

    def make() -> nn.Module:
        model = layer(made)()
        for _ in range(3):
            model(torch.randn(8, *shape) * 2 + 1)
        return model.eval()

    return make
