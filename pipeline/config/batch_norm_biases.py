"""Networks whose batch-norm biases are counted (LUCK: Section 4.1)."""

from typing import Literal

from pydantic import model_validator

from pipeline.config.base import Spec


class BatchNormBiases(Spec):
    """One network, or the seeds of a run. Exactly one of `run`, `checkpoint` and `torchvision` names it."""

    run: str | None = None  # RUN, or RUN.POINT of one that varies: its final weights, each seed
    checkpoint: str | None = None  # file of a state dict, relative to the repository or absolute
    torchvision: Literal["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"] | None = (
        None  # pretrained on ImageNet
    )
    download: bool = False  # torchvision: if torch's cache has not got them

    @model_validator(mode="after")
    def _one_network(self) -> "BatchNormBiases":
        named = [name for name in ("run", "checkpoint", "torchvision") if getattr(self, name) is not None]
        if len(named) != 1:
            found = " and ".join(named) or "none"
            raise ValueError(f"needs one of run, checkpoint and torchvision, found {found}")
        if self.download and self.torchvision is None:
            raise ValueError("download is for torchvision only: remove it")
        return self
