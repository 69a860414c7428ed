"""Named random streams: every draw is a pure function of one root seed and the stream's name.

Nothing here has a state, so that a resumed run, another order of calls or another number of worker
processes draws what the first one would have.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Name = str | int


def stream_seed(root: int, *name: Name) -> int:
    """A 63-bit seed for the stream `name` under the root seed `root`."""
    text = "/".join(map(str, (root, *name)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch takes signed 64-bit seeds


def generator(root: int, *name: Name) -> np.random.Generator:
    """A counter-based generator at the start of the stream `name`."""
    return np.random.Generator(np.random.Philox(stream_seed(root, *name)))


def uniform_at(indices: NDArray[np.integer], root: int, *name: Name) -> NDArray[np.float64]:
    """One uniform draw in [0, 1) for each index, `(n,)`.

    The draw of an index is the element at that position of the stream, whatever the other indices
    are: subsets of a dataset keep their draws.
    """
    if len(indices) == 0:
        return np.empty(0)
    return generator(root, *name).random(int(np.max(indices)) + 1)[indices]


def epoch_order(num_examples: int, root: int, epoch: int, *name: Name) -> NDArray[np.int64]:
    """The order in which an epoch visits the examples: a permutation of `range(num_examples)`."""
    return generator(root, *name, "epoch", epoch).permutation(num_examples)
