"""Convolutions in one, two and three dimensions: strided, padded, dilated, grouped, depthwise, transposed."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.gradients.engine.factors import Factor, Rows
from pipeline.gradients.engine.graph import Layout, Meeting
from pipeline.gradients.engine.outer import MOVE, PAIRED, Outer

WEIGHT, BIAS = 1, 2  # edges
FEW = 4  # pixels up to which products without the padding are faster than the library's with it
LEAST_CHANNELS = 192  # for products at one place of the kernel to be worth their calls


def convolution(meeting: Meeting, gradients: Sequence[Tensor | None]) -> Factor | None:
    """y = weight * x + bias. Padding by reflection or in a circle is an operation of its own, below."""
    node, layout = meeting.node, meeting.layout
    if layout.dim != 0 or meeting.edge not in (WEIGHT, BIAS):
        return None
    if meeting.edge == BIAS:
        return Rows(layout.split(gradients[0].flatten(2).sum(dim=2)).flatten(1, 2).sum(dim=1))
    weight = ConvolutionWeight(gradients[0], node)
    return weight if layout.outer * layout.inner == 1 else _over_frames(weight, layout)


def _over_frames(weight: "ConvolutionWeight", layout: Layout) -> Outer:
    """Several images for each example: their pixels are positions alike."""
    lead, trail = (
        layout.split(side).flatten(1, 2).permute(0, 2, 3, 1, 4).flatten(3)
        for side in (weight.lead, weight.trail(slice(None)))
    )
    return Outer(lead, trail, weight.shape)


class ConvolutionWeight(Outer):
    """The positions of the outer products are pixels; one side are patches, made when they are needed."""

    def __init__(self, gradient: Tensor, node: torch.autograd.graph.Node):
        """`gradient (b, o, *pixels)` of the output, and the convolution."""
        self._gradient = gradient
        # Detached: who keeps a factor keeps two tensors, and not the graph they come from.
        self._inputs, self._weight = node._saved_input.detach(), node._saved_weight.detach()
        self._stride, self._padding, self._dilation = (
            node._saved_stride,
            node._saved_padding,
            node._saved_dilation,
        )
        self._transposed, self._output_padding = node._saved_transposed, node._saved_output_padding
        self._groups = node._saved_groups
        # A transposed convolution is the gradient of another, in which the two sides change places.
        lead, self._windowed = (self._inputs, gradient) if self._transposed else (gradient, self._inputs)
        self._pixels = lead.shape[2:]
        super().__init__(lead.flatten(2).unflatten(1, (self._groups, -1)), self._windowed, self._weight.shape)

    @property
    def _kernel(self) -> torch.Size:
        return self._weight.shape[2:]

    def trail(self, examples: slice) -> Tensor:
        patches = self._patches(self._windowed[examples])
        return patches.reshape(len(patches), self._groups, self.row_length, self.positions)

    def _patches(self, images: Tensor) -> Tensor:
        """A view `(b, channels, *kernel, *pixels)` of the padded images."""
        padded = functional.pad(images, [side for size in reversed(self._padding) for side in (size, size)])
        steps = padded.stride()[2:]
        return padded.as_strided(
            (*padded.shape[:2], *self._kernel, *self._pixels),
            (
                *padded.stride()[:2],
                *(step * by for step, by in zip(steps, self._dilation, strict=True)),
                *(step * by for step, by in zip(steps, self._stride, strict=True)),
            ),
        )

    def _gram_is_cheaper(self) -> bool:
        images = math.prod(self._windowed.shape[2:])
        moves = max(images, self.positions) ** 2 * sum(self._kernel) * MOVE
        channels = self.row_length // math.prod(self._kernel)
        gram = images**2 * channels + self.positions**2 * self.rows + moves
        return gram < self.row_length * (self.positions * MOVE + self.rows * (self.positions / 5 + MOVE))

    def _trail_gram(self, examples: slice) -> Tensor:
        """Products of patches are sums of products of pixels, one for each place in the kernel.

        So the patches are not made: the Gram matrix of the pixels is summed along its diagonals, one
        dimension of the image after the other. Zero padding pads it with zeros.
        """
        images = self._windowed[examples]
        size, dims = images.shape[2:], range(images.ndim - 2)
        pixels = images.flatten(2).unflatten(1, (self._groups, -1))
        gram = (pixels.transpose(2, 3) @ pixels).view(len(images), self._groups, *size, *size)
        gram = functional.pad(gram, [side for pad in reversed(self._padding) for side in (pad, pad)] * 2)
        for dim in dims:
            first, second = 2 + dim, 2 + len(dims) + dim
            span = (self._pixels[dim] - 1) * self._stride[dim] + 1
            shifted = []
            for place in range(self._kernel[dim]):
                window = [slice(None)] * gram.ndim
                start = place * self._dilation[dim]
                window[first] = window[second] = slice(start, start + span, self._stride[dim])
                shifted.append(gram[tuple(window)])
            gram = _sum(shifted)
        return gram.reshape(len(images), self._groups, self.positions, self.positions)

    def totals_and_squares(self) -> tuple[Tensor, Tensor]:
        channels = self._windowed.shape[1] // self._groups
        if self.positions > PAIRED and (self.numel <= self.sizes.cached // 4 or channels < LEAST_CHANNELS):
            return super().totals_and_squares()
        total, squares = zip(*(layer.totals_and_squares() for layer in self._places()), strict=True)
        return torch.stack(total, dim=-1).flatten(), torch.stack(squares, dim=-1).flatten()

    def _places(self, part: slice = slice(None)) -> Iterator[Outer]:
        """The weights at one place of the kernel after the other.

        Each is a dense layer, of the pixels that are not padding: on small images that are few.
        """
        for place in itertools.product(*map(range, self._kernel)):
            lead, trail = self._at(place)
            yield Outer(lead[part], trail[part], torch.Size((self.groups * self.rows, trail.shape[2])))

    def _at(self, place: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The two sides `(b, h, ..., t)` of the weights at one place of the kernel, without padding."""
        lead, trail = [slice(None)] * 2, [slice(None)] * 2
        for dim, at in enumerate(place):
            step, offset = self._stride[dim], at * self._dilation[dim] - self._padding[dim]
            size = self._windowed.shape[2 + dim]
            # The first and last pixel whose window is inside the image here.
            first = max(0, -(offset // step))
            last = min(self._pixels[dim] - 1, (size - 1 - offset) // step)
            count = max(0, last - first + 1)
            lead.append(slice(first, first + count))
            start = first * step + offset
            trail.append(slice(start, start + max(0, (count - 1) * step + 1), step))
        sides = (
            self.lead.unflatten(3, self._pixels).flatten(1, 2)[tuple(lead)],
            self._windowed[tuple(trail)],
        )
        return tuple(side.flatten(2).unflatten(1, (self.groups, -1)) for side in sides)

    def _total(self, part: slice) -> Tensor:
        if self.positions <= FEW:
            every = [slice(None)]
            totals = [layer.totals(every)[0].flatten() for layer in self._places(part)]
            return torch.stack(totals, dim=-1).view(self.shape)
        # The library's own, which is as fast as it gets, but multiplies by padding.
        _, total, _ = torch.ops.aten.convolution_backward(
            self._gradient[part],
            self._inputs[part],
            self._weight,
            [0],
            self._stride,
            self._padding,
            self._dilation,
            self._transposed,
            self._output_padding,
            self._groups,
            [False, True, False],
        )
        return total


def _sum(values: Sequence[Tensor]) -> Tensor:
    """Their sum, with one new tensor and not one for each."""
    if len(values) == 1:
        return values[0]
    total = values[0] + values[1]
    for value in values[2:]:
        total += value
    return total
