"""The weights of a network by where they come from: a run, a file, torchvision's pretrained ones."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pipeline.config import BatchNormBiases, Params
from pipeline.errors import InputError
from pipeline.paths import Layout

WRAPPINGS = ("state_dict", "model_state_dict", "model")  # under which training scripts keep a state dict
SAFE = ".safetensors"

Weights = Mapping[str, Tensor]


def weights_of(layout: Layout, params: Params, item: str) -> dict[int, Weights]:
    """The state dicts of an item by seed: of a run the final weights of each, else one, seed 0."""
    spec, where = params.batch_norm_biases[item], f"params.yaml, batch_norm_biases.{item}"
    if spec.run is not None:
        files = {seed: _of_run(layout, params, spec.run, seed) for seed in range(params.networks_of(spec))}
        return {seed: read(path, f"{where}.run") for seed, path in files.items()}
    if spec.checkpoint is not None:
        return {0: read(layout.root / spec.checkpoint, f"{where}.checkpoint")}
    return {0: _of_torchvision(spec, where)}


def read(path: Path, where: str) -> Weights:
    """A state dict from a file of torch or safetensors; it may lie under a key such as `state_dict`.

    Only tensors and plain data are unpickled. Raises `InputError`, its message opening with `where`.
    """
    try:
        content = _load(path)
    except FileNotFoundError as error:
        raise InputError(f"{where}: {path} is missing. Give the path of a file of weights.") from error
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{where}: {path} cannot be read as weights ({reason}). Save a state dict with torch.save or as "
            f"{SAFE}."
        ) from error
    for name in WRAPPINGS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping):
        raise InputError(
            f"{where}: {path} holds {type(content).__name__}, no state dict. Save model.state_dict()."
        )
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _load(path: Path) -> object:
    if path.suffix == SAFE:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    return torch.load(path, map_location="cpu", weights_only=True)


def _of_run(layout: Layout, params: Params, key: str, seed: int) -> Path:
    name, _, point = key.partition(".")
    path = layout.run(name) / point / f"seed-{seed}" / "final.pt"
    if not path.is_file():
        raise InputError(
            f"{path}: is missing. Run `python -m pipeline train --item {name}`, or `dvc repro` for all that "
            "is out of date."
        )
    return path


def _of_torchvision(spec: BatchNormBiases, where: str) -> Weights:
    """Pretrained weights from torch's own cache, or by download where params allow it."""
    from torchvision.models import get_model_weights

    weights = get_model_weights(spec.torchvision).DEFAULT
    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if not cached.is_file() and not spec.download:
        raise InputError(
            f"{where}.torchvision: {cached} is missing. Put the file of {weights.url} there, or set "
            "download: true."
        )
    if cached.is_file():
        return read(cached, f"{where}.torchvision")
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{where}.torchvision: {weights.url} cannot be downloaded ({error}).") from error
