"""A network for every layer the engine claims to know, each with the shape of one input."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from tests.unit.engine_networks import (
    Calling,
    Squared,
    attention,
    calling,
    class_token,
    concatenated_bias,
    frozen,
    in_evaluation,
    layer,
    linear,
    relative_bias,
    standardised,
    values,
    windows,
    windows_around,
    windows_first,
)


@dataclass(frozen=True)
class Case:
    """A network and what to feed it."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of one input
    tokens: int = 0  # inputs are whole numbers below this, or, if 0, normal
    fallbacks: frozenset[str] = frozenset()  # operations that have no rule


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
