"""How far a stage is: one line that renews itself on a terminal, plain lines elsewhere."""

import sys
import time
from typing import TextIO

PLAIN_SECONDS = 10.0


class ProgressLine:
    """Progress of several workers that count the same unit (steps, snapshots)."""

    def __init__(self, title: str, unit: str, workers: int, stream: TextIO | None = None):
        self.title, self.unit, self.workers = title, unit, workers
        self.stream = stream or sys.stdout
        self.is_terminal = self.stream.isatty()
        self.done: dict[int, int] = {}
        self.totals: dict[int, int] = {}
        self.notes: dict[int, str] = {}
        self.started = self.last_plain = time.monotonic()
        self.done_at_start: dict[int, int] = {}

    def update(self, worker: int, done: int, total: int, note: str = "") -> None:
        """Say that `worker` has done `done` of `total` units."""
        self.done_at_start.setdefault(worker, done)  # a resumed worker did not do these now
        self.done[worker], self.totals[worker], self.notes[worker] = done, total, note
        now = time.monotonic()
        if self.is_terminal:
            self.stream.write(f"\r\x1b[2K{self.line(now)}")
            self.stream.flush()
        elif now - self.last_plain > PLAIN_SECONDS:
            self.last_plain = now
            self.stream.write(self.line(now) + "\n")
            self.stream.flush()

    def line(self, now: float) -> str:
        """Share done, rate and time left, as text."""
        # Workers that have not begun are taken to be as long as those that have.
        total = sum(self.totals.values()) / len(self.totals) * self.workers
        done = sum(self.done.values())
        here = done - sum(self.done_at_start.values())
        rate = here / max(now - self.started, 1e-9)
        left = f"{_clock((total - done) / rate)} left" if rate > 0 else "time left unknown"
        notes = " | ".join(note for _, note in sorted(self.notes.items()) if note)
        share = 100 * done / total if total else 100.0
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"  # a snapshot can take a minute
        return f"{self.title}: {share:3.0f} %, {speed} {self.unit}/s, {left}" + (
            f"  {notes}" if notes else ""
        )

    def close(self) -> None:
        """Leave the terminal's line to whatever is printed next."""
        if self.is_terminal:
            self.stream.write("\r\x1b[2K")
            self.stream.flush()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
