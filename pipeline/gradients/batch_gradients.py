"""The gradients of batches, one after the other: what everything imputed is made from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import isfinite
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from pipeline.gradients.checks import (
    check_batch,
    check_finite,
    check_losses,
    refuse_stochastic,
    trainable_parameters,
    unwrapped,
)
from pipeline.gradients.engine import Loss
from pipeline.gradients.errors import GradientError
from pipeline.gradients.example_pass import Batches
from pipeline.gradients.layers import parameters_by_layer
from pipeline.gradients.state import borrowed
from pipeline.gradients.wide import float64_home, squared_norm

BatchNorm = Literal["train", "eval"]


class BatchStream(ABC):
    """Takes batches of one size and folds the gradient of the mean loss of each into some sums.

    `add` takes a batch, `merge` the batches of another stream on the same weights, as from another process;
    `state_dict` and `from_state_dict` carry a stream over a stop or to another process. A batch that is
    refused leaves the stream as it was. The network and the random generators are left as they were found,
    `.grad` is not touched.
    """

    def __init__(self, model: nn.Module, loss: Loss, *, batch_norm: BatchNorm = "train"):
        if batch_norm not in ("train", "eval"):
            raise GradientError(f"batch_norm should be 'train' or 'eval', found {batch_norm!r}.")
        if batch_norm == "train":
            refuse_stochastic(model)
        self._model, self._loss, self._batch_norm = model, loss, batch_norm
        inside = unwrapped(model)  # run as given, but named without the wrapping
        self._parameters = trainable_parameters(inside)
        self._layers = {layer: tuple(names) for layer, names in parameters_by_layer(inside).items()}
        self.batch_size = 0  # k
        self.num_batches = 0  # B
        self.beside: BatchStream | None = (
            None  # on the same network, in the same mode, from the same batch on
        )

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        """Take one batch, `(k, ...)` and `(k, ...)`, on the model's device."""
        self.add_all([(inputs, targets)])

    def add_all(self, batches: Batches) -> None:
        """Take all of `batches`. So does the stream `beside`, from the same gradients, where there is one."""
        streams = (self,) if self.beside is None else (self, self.beside)
        with borrowed(self._model, training=self._batch_norm == "train"):
            for inputs, targets in batches:
                check_batch(inputs, targets)
                self._check_size(len(inputs))
                gradients, squares = self._gradients(inputs, targets)
                for stream in streams:
                    stream._fold(gradients, squares)
                    stream.batch_size = len(inputs)
                    stream.num_batches += 1

    def merge(self, other: Self) -> None:
        """Take the batches that `other` took, which must be others of the same size and network."""
        self._check_same(other)
        self._fold_sums(other)
        self.batch_size = self.batch_size or other.batch_size
        self.num_batches += other.num_batches

    def state_dict(self) -> dict[str, Any]:
        """All that was taken, in plain containers of tensors and numbers, for `torch.save`."""
        return {
            "options": {"batch_norm": self._batch_norm, **self._options()},
            "shapes": self._shapes(),
            "batch_size": self.batch_size,
            "num_batches": self.num_batches,
            "sums": self._sums(),
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any], model: nn.Module, loss: Loss) -> Self:
        """The stream whose `state_dict` this is. `model` must have the weights it had."""
        stream = cls(model, loss, **state["options"])
        if state["shapes"] != stream._shapes():
            raise GradientError("the state is that of a network with other trainable parameters.")
        stream.batch_size, stream.num_batches = state["batch_size"], state["num_batches"]
        stream._load(state["sums"])
        return stream

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(parameter.shape) for name, parameter in self._parameters.items()}

    def _gradients(self, inputs: Tensor, targets: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The gradient of the mean loss, flat and by parameter name, and its squared norms `(tensors,)`.

        Where the device has no float64, they come back on the CPU.
        """
        losses = self._loss(self._model(inputs), targets)
        check_losses(losses, len(inputs))
        values = torch.autograd.grad(losses.mean(), list(self._parameters.values()), materialize_grads=True)
        gradients = {
            name: self._at_home(name, value.detach().to_dense().flatten())
            for name, value in zip(self._parameters, values, strict=True)
        }
        device = next(iter(gradients.values())).device
        squares = torch.stack([squared_norm(value).to(device) for value in gradients.values()]).cpu()
        self._check_finite(squares)
        return gradients, squares

    def _check_finite(self, squares: Tensor) -> None:
        by_name = dict(zip(self._parameters, squares.tolist(), strict=True))
        for layer, names in self._layers.items():
            if not all(isfinite(by_name[name]) for name in names):
                check_finite(layer, torch.tensor([by_name[name] for name in names]))

    def _check_size(self, found: int) -> None:
        if self.batch_size and found != self.batch_size:
            raise GradientError(
                f"imputing needs batches of one size: the first has {self.batch_size} examples, number "
                f"{self.num_batches + 1} has {found}. Drop the last, incomplete batch."
            )

    def _check_same(self, other: "BatchStream") -> None:
        if self._shapes() != other._shapes() or self._batch_norm != other._batch_norm:
            raise GradientError("sums over different networks, or in different modes, cannot be merged.")
        if self.batch_size and other.batch_size and self.batch_size != other.batch_size:
            raise GradientError(
                f"sums over batches of {self.batch_size} and of {other.batch_size} examples cannot be merged."
            )

    def _at_home(self, name: str, values: Tensor) -> Tensor:
        """`values` on the device where the sums of this parameter are kept."""
        return values.to(float64_home(self._parameters[name].device))

    @abstractmethod
    def _fold(self, gradients: dict[str, Tensor], squares: Tensor) -> None:
        """Add one batch's gradient, or raise and add nothing."""

    @abstractmethod
    def _fold_sums(self, other: Self) -> None:
        """Add the sums of another stream, or raise and add nothing."""

    @abstractmethod
    def _options(self) -> dict[str, Any]:
        """The options of the subclass, for `state_dict`."""

    @abstractmethod
    def _sums(self) -> dict[str, Any]:
        """The sums, for `state_dict`."""

    @abstractmethod
    def _load(self, sums: Mapping[str, Any]) -> None:
        """Take over what `_sums` gave."""
