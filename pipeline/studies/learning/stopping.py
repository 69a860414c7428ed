"""How work of many steps hears that it should stop."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from pipeline.errors import Interrupted

Stop = Callable[[], bool]
Item = TypeVar("Item")


def go_on() -> bool:
    """Never stop."""
    return False


def until(stop: Stop, steps: Iterable[Item]) -> Iterator[Item]:
    """The steps; raises `Interrupted` before the first at which `stop()` is true."""
    for step in steps:
        if stop():
            raise Interrupted("while gradients are followed")
        yield step
