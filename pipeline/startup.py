"""Quick starts and exits: the garbage collector is kept from what imports leave, which is no garbage.

Torch, numba and MLflow leave a million objects. To collect while they are imported, and over and over when
the interpreter ends, takes more than a second of every stage.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """No collection inside, and none later of the objects that are there at the end."""
    gc.disable()
    try:
        yield
    finally:
        keep_what_is_there()


def keep_what_is_there() -> None:
    """Collect from now on, but none of the objects that there are: before an exit, none at all."""
    gc.freeze()
    gc.enable()
