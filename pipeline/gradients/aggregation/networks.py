"""Loops that find the extremes of columns, written as source: networks of minima and maxima.

A sorting network (Batcher 1968; Knuth, The Art of Computer Programming 3, 5.3.4) compares the same places
whatever the values, so that a processor runs it on many columns side by side. Here a few new values of each
column are sorted, and merged with the least and with the greatest ones so far; what no outcome depends on is
left out. For 3 extremes a side that is 6 minima and maxima for each value. The loop is source, as no compiler
keeps the extremes in registers when their number is a variable.
"""

from collections.abc import Sequence


def extremes_source(name: str, kept: int, tile: int) -> str:
    """A function `name(values, where, counts, rows, low, high)`, to be compiled.

    Column k of row o has the values `values[o, i] * rows[where[o, i], k]` for i below `counts[o]`, of
    `rows (m, tile)`, and m - counts[o] zeros. Into `low` and `high (o, tile)` go its value number `kept`
    from below and from above (from 1; m is `kept` or more). A NaN may be lost.
    """
    group = 4 if kept <= 3 else 8  # values pushed in at a time: what takes the fewest operations
    return f"""
def {name}(values, where, counts, rows, low, high):
    kept = np.empty({2 * kept * tile}, rows.dtype)
    for o in range(len(counts)):
        lead, at, count = values[o], where[o], counts[o]
        for place in range({kept * tile}):
            is_zero = place < (len(rows) - count) * {tile}
            kept[place] = 0 if is_zero else np.inf
            kept[{2 * kept * tile - 1} - place] = 0 if is_zero else -np.inf
        whole = count - count % {group}
        for i in range(0, whole, {group}):
{_push(kept, group, tile)}
        for i in range(whole, count):
{_push(kept, 1, tile)}
        for k in range({tile}):
            low[o, k], high[o, k] = kept[{(kept - 1) * tile} + k], kept[{kept * tile} + k]
"""


def _push(kept: int, group: int, tile: int) -> str:
    """The body of a loop over i: values i to i + group, pushed into what is kept."""
    lows, highs = [f"low{p}" for p in range(kept)], [f"high{p}" for p in range(kept)]
    places = [(name, p * tile) for p, name in enumerate(lows + highs)]
    network = _Network()
    new = network.sort([f"new{g}" for g in range(group)])
    least = network.merge(lows, new[:kept])[:kept]
    greatest = network.merge(highs, new[-kept:])[-kept:]
    lines = [f"lead{g}, row{g} = lead[i + {g}], rows[at[i + {g}]]" for g in range(group)]
    lines.append(f"for k in range({tile}):")
    inner = [f"{name} = kept[{place} + k]" for name, place in places]
    inner += [f"new{g} = lead{g} * row{g}[k]" for g in range(group)]
    inner += network.lines(least + greatest)
    inner += [
        f"kept[{place} + k] = {name}" for (_, place), name in zip(places, least + greatest, strict=True)
    ]
    return "\n".join([f"{' ' * 12}{line}" for line in lines] + [f"{' ' * 16}{line}" for line in inner])


class _Network:
    """Comparisons by Batcher's odd-even merges, as assignments to new names."""

    def __init__(self):
        self._assignments: list[tuple[str, str, tuple[str, str]]] = []

    def sort(self, names: Sequence[str]) -> list[str]:
        """The names of the same values in rising order."""
        if len(names) <= 1:
            return list(names)
        half = len(names) // 2
        return self.merge(self.sort(names[:half]), self.sort(names[half:]))

    def merge(self, first: Sequence[str], second: Sequence[str]) -> list[str]:
        """One sorted list of two."""
        if not first or not second:
            return [*first, *second]
        if len(first) == len(second) == 1:
            return self._exchange(first[0], second[0])
        even = self.merge(first[::2], second[::2])
        odd = self.merge(first[1::2], second[1::2])
        merged = even[:1]
        for one, other in zip(odd, even[1:], strict=False):
            merged += self._exchange(one, other)
        return merged + even[len(odd) + 1 :] + odd[len(even) - 1 :]

    def lines(self, wanted: Sequence[str]) -> list[str]:
        """The assignments that `wanted` depends on, in order."""
        needed, lines = set(wanted), []
        for name, expression, operands in reversed(self._assignments):
            if name in needed:
                needed.update(operands)
                lines.append(f"{name} = {expression}")
        return lines[::-1]

    def _exchange(self, first: str, second: str) -> list[str]:
        number = len(self._assignments)
        least, greatest = f"least{number}", f"greatest{number}"
        self._assignments.append((least, f"min({first}, {second})", (first, second)))
        self._assignments.append((greatest, f"max({first}, {second})", (first, second)))
        return [least, greatest]
