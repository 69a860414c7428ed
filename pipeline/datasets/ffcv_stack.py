"""The one door to FFCV: what is imported from it, with two of its habits taken off.

At import FFCV fills a `numba.typed.Dict`, which costs three seconds of compiling, and everywhere it sets the
threads of the whole process for torch; how many threads train a network is not a data loader's to say.
"""

import importlib.metadata
from types import ModuleType

import numba
import numba.typed
import torch


def _import_writer() -> ModuleType:
    threads, typed_dict = torch.get_num_threads(), numba.typed.Dict
    numba.typed.Dict = dict  # read twice while a decoder is built, never inside compiled code
    try:
        import ffcv.writer as module
    finally:
        numba.typed.Dict = typed_dict
        torch.set_num_threads(threads)
    return module


writer = _import_writer()

import cv2  # noqa: E402  FFCV's import above has to come first
from ffcv.fields import IntField, NDArrayField, RGBImageField  # noqa: E402
from ffcv.loader import Loader  # noqa: E402
from ffcv.pipeline.compiler import Compiler  # noqa: E402
from ffcv.reader import Reader  # noqa: E402

__all__ = ["VERSION", "IntField", "Loader", "NDArrayField", "RGBImageField", "Reader", "writer"]

VERSION = importlib.metadata.version("ffcv")
cv2.setNumThreads(0)  # the writer's forked worker has no use for the parent's pool of threads


def _set_num_threads(compiler: type[Compiler], num_threads: int) -> None:
    """`Compiler.set_num_threads` without its last line, `torch.set_num_threads`."""
    compiler.num_threads = num_threads
    numba.set_num_threads(num_threads)


Compiler.set_num_threads = classmethod(_set_num_threads)
