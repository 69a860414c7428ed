"""Quick starts and exits: a short stage is mostly that.

Torch, numba and MLflow leave a million objects, none of them garbage. To collect while they are imported,
and to take them apart when the interpreter ends, costs more than a second of every stage.
"""

import atexit
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn


@contextmanager
def importing() -> Iterator[None]:
    """No garbage is collected inside."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def begin_worker() -> None:
    """In a new worker: collect garbage, but look at none of the objects that its server has imported."""
    gc.freeze()
    gc.enable()


def leave(code: int) -> NoReturn:
    """End the process as the interpreter does, save that its objects are not taken apart."""
    threading._shutdown()  # as the interpreter itself begins
    atexit._run_exitfuncs()
    with suppress(BrokenPipeError):  # `| head` has read enough
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
