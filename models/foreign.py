"""Networks from elsewhere: any of timm's by name, and the user's own by a dotted path."""

import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from models.errors import ModelError, unknown

TIMM = "timm:"


def check_timm(name: str, where: str) -> None:
    """Refuse a timm model that this version of timm does not have."""
    import timm

    if not timm.is_model(name):
        near = unknown(f"{where}: timm model", name, timm.list_models())
        # Above a thousand names: the nearest one helps, the list does not.
        raise ModelError(f"{str(near).split(' Known: ')[0]} timm.list_models() lists them.")


def build_timm(
    name: str, input_shape: tuple[int, int, int], num_classes: int, options: Mapping[str, Any]
) -> nn.Module:
    """timm's `name`, not pretrained, drop rates 0, with `img_size` where the architecture takes it.

    Which keywords an architecture takes is known only when it refuses one, which happens before a weight is
    drawn; those that are ours are then left out, those of the user are an error.
    """
    import timm

    ours = {"img_size": tuple(input_shape[1:]), "drop_rate": 0.0, "drop_path_rate": 0.0}
    state = torch.get_rng_state()
    while True:
        try:
            return timm.create_model(
                name,
                pretrained=False,
                num_classes=num_classes,
                in_chans=input_shape[0],
                **{**ours, **options},
            )
        except TypeError as error:
            refused = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if refused is None or refused[1] in options or refused[1] not in ours:
                raise ModelError(f"model '{TIMM}{name}': {error}.") from error
            del ours[refused[1]]
            torch.set_rng_state(state)
        except (AssertionError, ValueError, RuntimeError) as error:
            raise ModelError(f"model '{TIMM}{name}', images {_size(input_shape)}: {error}.") from error


def load_callable(path: str, where: str) -> Callable[..., nn.Module]:
    """The user's own builder at `package.module:callable`."""
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ModelError(
            f"{where}: cannot import '{module_name}' ({error}). Put its folder on PYTHONPATH."
        ) from error
    except Exception as error:  # the module is the user's: it may raise anything
        raise ModelError(f"{where}: importing '{module_name}' raised {_told(error)}.") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        names = [name for name in vars(module) if callable(getattr(module, name)) and name[0] != "_"]
        raise unknown(f"{where}: callable of module '{module_name}',", attribute, names)
    return found


def build_own(
    path: str, input_shape: tuple[int, int, int], num_classes: int, options: Mapping[str, Any]
) -> nn.Module:
    """What the user's own builder makes; what it raises as a `ModelError` that says how it was called."""
    own = load_callable(path, "model")
    passed = {"input_shape": tuple(input_shape), "num_classes": num_classes, **options}
    try:
        return own(**passed)
    except Exception as error:
        call = ", ".join(f"{name}={value!r}" for name, value in passed.items())
        raise ModelError(f"model '{path}' raised {_told(error)}. It was called with {call}.") from error


def check_output(model: nn.Module, name: str, input_shape: tuple[int, int, int], num_classes: int) -> None:
    """Send two black images through a model that is not ours: wrong sizes show here, not hours later."""
    if not isinstance(model, nn.Module):
        raise ModelError(f"model '{name}': should return a torch.nn.Module, found {type(model).__name__}.")
    mode = model.training
    try:
        with torch.no_grad():
            output = model.eval()(torch.zeros(2, *input_shape))
    except Exception as error:
        raise ModelError(
            f"model '{name}' cannot take images {_size(input_shape)}: {_told(error)}."
        ) from error
    finally:
        model.train(mode)
    found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if found != (2, num_classes):
        raise ModelError(f"model '{name}': 2 images should give (2, {num_classes}) outputs, found {found}.")


def _told(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}".rstrip(": .")


def _size(input_shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, input_shape))
