"""Small networks that hold every layer the engine claims to know, each with the shape of one input."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations


@dataclass(frozen=True)
class Case:
    """A network and what to feed it."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of one input
    tokens: int = 0  # inputs are whole numbers below this, or, if 0, normal
    fallbacks: frozenset[str] = frozenset()  # operations that have no rule


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


def convolutions() -> list[Case]:
    """Convolutions in one, two and three dimensions."""
    shape = {1: (4, 9), 2: (4, 7, 6), 3: (4, 5, 4, 6)}
    cases = []
    for dims, conv, transposed in (
        (1, nn.Conv1d, nn.ConvTranspose1d),
        (2, nn.Conv2d, nn.ConvTranspose2d),
        (3, nn.Conv3d, nn.ConvTranspose3d),
    ):
        for name, options in {
            "plain": {"kernel_size": 3},
            "no bias": {"kernel_size": 2, "bias": False},
            "strided, padded": {"kernel_size": 3, "stride": 2, "padding": 1},
            "same": {"kernel_size": 3, "padding": "same", "dilation": 2},
            "same, even kernel": {"kernel_size": 2, "padding": "same"},
            "reflect": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
            "circular": {"kernel_size": 3, "padding": 2, "padding_mode": "circular", "stride": 2},
            "replicate": {"kernel_size": 3, "padding": 1, "padding_mode": "replicate"},
            "dilated": {"kernel_size": 2, "dilation": 3, "padding": 2},
            "grouped": {"kernel_size": 3, "groups": 2},
            "depthwise": {"kernel_size": 3, "groups": 4, "padding": 1},
        }.items():
            cases.append(
                Case(
                    f"conv{dims}d {name}",
                    layer(lambda conv=conv, options=options: conv(4, 8, **options)),
                    shape[dims],
                )
            )
        for name, options in {
            "plain": {"kernel_size": 3},
            "strided": {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
            "grouped, dilated": {"kernel_size": 2, "groups": 2, "dilation": 2, "padding": 1},
        }.items():
            cases.append(
                Case(
                    f"transposed conv{dims}d {name}",
                    layer(lambda conv=transposed, options=options: conv(4, 6, **options)),
                    shape[dims],
                )
            )
    return cases


def dense() -> list[Case]:
    """Dense layers, on single vectors and on sequences, however they are laid out."""
    return [
        Case("linear", layer(linear(5, 3)), (5,)),
        Case("linear without bias", layer(linear(5, 3, bias=False)), (5,)),
        Case("linear on a sequence", layer(linear(5, 3)), (4, 5)),
        Case("linear on a grid", layer(linear(5, 3)), (2, 3, 5)),
        Case("linear without bias on a sequence", layer(linear(5, 3, bias=False)), (4, 5)),
        Case(
            "linear, sequence first",
            calling(lambda self, x: self.inner(x.transpose(0, 1)).transpose(0, 1), inner=linear(5, 3)),
            (4, 5),
        ),
        Case(
            "linear, batch last",
            calling(
                lambda self, x: self.inner(x.permute(1, 2, 0).transpose(1, 2)).mean(0), inner=linear(5, 3)
            ),
            (4, 5),
        ),
        Case(
            "weight on the left",
            calling(lambda self, x: (self.weight @ x.t()).t(), weight=values(3, 5)),
            (5,),
            fallbacks=frozenset({"MmBackward0"}),
        ),
        Case(
            "weight on the left of a sequence",
            calling(lambda self, x: self.weight @ x, weight=values(3, 4)),
            (4, 5),
        ),
        Case(
            "einsum",
            calling(lambda self, x: torch.einsum("bhtk,hko->btho", x, self.weight), weight=values(2, 5, 3)),
            (2, 4, 5),
        ),
        Case(
            "einsum over two axes",
            calling(lambda self, x: torch.einsum("bthk,hko->bto", x, self.weight), weight=values(2, 5, 3)),
            (4, 2, 5),
        ),
        Case("windows", calling(windows, inner=linear(3, 5)), (4, 6, 3)),
        Case(
            "windows first",
            calling(windows_first, inner=linear(3, 5), norm=lambda: nn.LayerNorm(3), scale=values(5)),
            (4, 6, 3),
        ),
        Case(
            "windows around",
            calling(windows_around, inner=linear(3, 5), norm=lambda: nn.LayerNorm(3), scale=values(5)),
            (4, 6, 3),
        ),
        Case(
            "bilinear",
            layer(lambda: Calling(lambda self, x: self.inner(x, x), inner=nn.Bilinear(4, 4, 3))),
            (4,),
            fallbacks=frozenset({"TrilinearBackward0"}),
        ),
    ]


def normalisations() -> list[Case]:
    return [
        Case("layer norm", layer(lambda: nn.LayerNorm(5)), (5,)),
        Case("layer norm of a sequence", layer(lambda: nn.LayerNorm(5)), (4, 5)),
        Case("layer norm over two axes", layer(lambda: nn.LayerNorm((4, 5))), (3, 4, 5)),
        Case("layer norm without shift", layer(lambda: nn.LayerNorm(5, bias=False)), (4, 5)),
        Case("group norm", layer(lambda: nn.GroupNorm(2, 6)), (6, 3, 4)),
        Case("group norm of vectors", layer(lambda: nn.GroupNorm(2, 6)), (6,)),
        Case("instance norm", layer(lambda: nn.InstanceNorm2d(3, affine=True)), (3, 4, 5)),
        Case(
            "instance norm with statistics, training",
            layer(lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True)),
            (3, 4, 5),
        ),
        Case(
            "instance norm with statistics, evaluation",
            in_evaluation(lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True), (3, 4, 5)),
            (3, 4, 5),
        ),
        Case("rms norm", layer(lambda: nn.RMSNorm(5)), (4, 5)),
        Case("rms norm over two axes", layer(lambda: nn.RMSNorm((4, 5))), (3, 4, 5)),
        Case("batch norm 1d, evaluation", in_evaluation(lambda: nn.BatchNorm1d(5), (5,)), (5,)),
        Case(
            "batch norm 1d of a sequence, evaluation",
            in_evaluation(lambda: nn.BatchNorm1d(5), (5, 3)),
            (5, 3),
        ),
        Case("batch norm 2d, evaluation", in_evaluation(lambda: nn.BatchNorm2d(3), (3, 4, 5)), (3, 4, 5)),
        Case(
            "batch norm 3d, evaluation", in_evaluation(lambda: nn.BatchNorm3d(2), (2, 3, 2, 4)), (2, 3, 2, 4)
        ),
    ]


def bare_parameters() -> list[Case]:
    return [
        Case(
            "vision transformer",
            calling(
                class_token,
                token=values(1, 1, 6),
                positions=values(1, 9, 6),
                scale=values(6),
                norm=lambda: nn.LayerNorm(6),
                mix=linear(6, 6),
                attend=lambda: nn.MultiheadAttention(6, 2, batch_first=True),
                head=linear(6, 3),
            ),
            (4, 6),
        ),
        Case(
            "token repeated",
            calling(
                lambda self, x: torch.cat([x, self.token.repeat(len(x), 2, 1)], 1).sin(),
                token=values(1, 2, 3),
            ),
            (4, 3),
            fallbacks=frozenset({"RepeatBackward0"}),
        ),
        Case(
            "token stacked",
            calling(
                lambda self, x: torch.cat([x, torch.stack([self.token] * len(x))], 1).sin(),
                token=values(2, 3),
            ),
            (4, 3),
            fallbacks=frozenset({"StackBackward0"}),
        ),
        Case("prelu", layer(nn.PReLU), (4, 3)),
        Case("prelu of channels", layer(lambda: nn.PReLU(4)), (4, 3, 2)),
        Case("temperature", calling(lambda self, x: x * self.scale.exp(), scale=values()), (4,)),
        Case(
            "divided, subtracted",
            calling(lambda self, x: (self.shift - x) / self.scale, shift=values(4), scale=values(1)),
            (4,),
        ),
        Case(
            "alpha",
            calling(
                lambda self, x: torch.add(x, self.a, alpha=3).sub(self.b, alpha=2), a=values(4), b=values(4)
            ),
            (4,),
        ),
        Case(
            "gated",
            calling(lambda self, x: torch.lerp(x, x.tanh(), self.gate.sigmoid()), gate=values(4)),
            (4,),
        ),
        Case(
            "relative position bias",
            calling(relative_bias, table=values(7, 2), scale=values(2, 1, 1), value=linear(5, 3)),
            (4, 5),
        ),
        Case(
            "bias of a learned mask",
            calling(lambda self, x: torch.where(x > 0, x, self.low), low=values(4)),
            (4,),
        ),
        Case("power", calling(lambda self, x: x.square().add(1).pow(self.power), power=values(4)), (4,)),
    ]


def used_again() -> list[Case]:
    return [
        Case(
            "called three times",
            calling(lambda self, x: self.inner(self.inner(self.inner(x).tanh()).tanh()), inner=linear(5, 5)),
            (5,),
        ),
        Case(
            "weight of two layers",
            calling(
                lambda self, x: functional.linear(self.inner(x).tanh(), self.inner.weight.t()),
                inner=linear(5, 3),
            ),
            (4, 5),
        ),
        Case(
            "convolution called twice",
            calling(
                lambda self, x: self.inner(self.inner(x).tanh()) + x,
                inner=lambda: nn.Conv2d(3, 3, 3, padding=1),
            ),
            (3, 5, 4),
        ),
        Case(
            "tied embedding",
            calling(
                lambda self, x: self.norm(self.table(x)) @ self.table.weight.t(),
                table=lambda: nn.Embedding(7, 4),
                norm=lambda: nn.LayerNorm(4),
            ),
            (5,),
            tokens=7,
        ),
        Case(
            "residual",
            calling(lambda self, x: x + self.b(self.a(x).relu()), a=linear(5, 8), b=linear(8, 5)),
            (5,),
        ),
        Case(
            "frozen weight",
            lambda: frozen(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), "0.weight", "2.bias"),
            (5,),
        ),
        Case(
            "frozen below",
            lambda: frozen(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), "0.weight", "0.bias"),
            (5,),
        ),
        Case(
            "frozen above",
            lambda: frozen(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), "2.weight", "2.bias"),
            (5,),
        ),
        Case("unused", calling(lambda self, x: self.inner(x), inner=linear(5, 3), idle=linear(4, 4)), (5,)),
        Case(
            "detached use",
            calling(
                lambda self, x: self.inner(x) + self.other(x).detach(), inner=linear(5, 3), other=linear(5, 3)
            ),
            (5,),
        ),
    ]


def derived() -> list[Case]:
    return [
        Case(
            "standardised weight",
            calling(standardised, inner=lambda: nn.Conv2d(3, 4, 3), gain=values(4, 1, 1, 1)),
            (3, 5, 4),
        ),
        Case("weight norm", layer(lambda: parametrizations.weight_norm(nn.Linear(5, 3))), (5,)),
        Case(
            "weight norm of a convolution",
            layer(lambda: parametrizations.weight_norm(nn.Conv1d(4, 3, 2))),
            (4, 6),
        ),
        Case(
            "spectral norm, evaluation",
            layer(lambda: parametrizations.spectral_norm(nn.Linear(5, 3)).eval()),
            (5,),
        ),
        Case("orthogonal", lambda: parametrizations.orthogonal(nn.Linear(4, 4)), (4,)),
        Case(
            "concatenated bias",
            calling(concatenated_bias, inner=linear(5, 6), query=values(2), value=values(2)),
            (3, 5),
        ),
        Case(
            "two weights multiplied",
            calling(lambda self, x: x @ (self.a @ self.b), a=values(5, 2), b=values(2, 4)),
            (5,),
        ),
        Case(
            "same weight, two views",
            calling(lambda self, x: x @ self.w + (x @ self.w.t()).tanh(), w=values(5, 5)),
            (5,),
        ),
    ]


def attentions() -> list[Case]:
    return [
        Case("attention, batch first", attention("batch"), (4, 6)),
        Case("attention, sequence first", attention("sequence"), (4, 6)),
        Case("attention without bias", attention("batch", bias=False), (4, 6)),
        Case("attention with added keys", attention("sequence", add_bias_kv=True), (4, 6)),
        Case(
            "attention of other sizes",
            calling(
                lambda self, x: self.inner(x, x[..., :4], x[..., 2:])[0],
                inner=lambda: nn.MultiheadAttention(6, 2, kdim=4, vdim=4, batch_first=True),
            ),
            (4, 6),
        ),
        Case(
            "transformer layer",
            layer(lambda: nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True)),
            (4, 6),
        ),
    ]


def embeddings() -> list[Case]:
    return [
        Case("embedding", layer(lambda: nn.Embedding(5, 3)), (6,), tokens=5),
        Case("embedding with padding", layer(lambda: nn.Embedding(5, 3, padding_idx=2)), (6,), tokens=5),
        Case("embedding by frequency", layer(lambda: nn.Embedding(5, 3, padding_idx=2)), (6,), tokens=5),
        Case(
            "embedding, sequence first",
            calling(lambda self, x: self.inner(x.t()).transpose(0, 1), inner=lambda: nn.Embedding(5, 3)),
            (6,),
            tokens=5,
        ),
        Case(
            "table indexed",
            calling(lambda self, x: self.table[x], table=values(5, 3)),
            (6,),
            tokens=5,
            fallbacks=frozenset({"IndexBackward0"}),
        ),
        Case(
            "embedding bag",
            layer(lambda: nn.EmbeddingBag(5, 3, mode="sum")),
            (6,),
            tokens=5,
            fallbacks=frozenset({"EmbeddingBagBackward0"}),
        ),
    ]


def operations() -> list[Case]:
    """Python's own and recurrent ones."""
    return [
        Case(
            "function in Python",
            calling(lambda self, x: Squared.apply(x, self.weight), weight=values(4)),
            (4,),
            fallbacks=frozenset({"SquaredBackward"}),
        ),
        Case(
            "lstm",
            calling(lambda self, x: self.inner(x)[0], inner=lambda: nn.LSTM(3, 4, batch_first=True)),
            (5, 3),
        ),
        Case(
            "lstm, both ways",
            calling(
                lambda self, x: self.inner(x.transpose(0, 1))[0].transpose(0, 1),
                inner=lambda: nn.LSTM(3, 4, 2, bidirectional=True),
            ),
            (5, 3),
        ),
        Case(
            "gru",
            calling(lambda self, x: self.inner(x)[0][:, -1], inner=lambda: nn.GRU(3, 4, batch_first=True)),
            (5, 3),
        ),
    ]


CASES = (
    *dense(),
    *convolutions(),
    *normalisations(),
    *bare_parameters(),
    *used_again(),
    *derived(),
    *attentions(),
    *embeddings(),
    *operations(),
)
