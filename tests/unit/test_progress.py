"""The progress line: on a terminal, in a log, and what it says of the time left."""

from io import StringIO
from types import SimpleNamespace

import pytest

from pipeline.progress import PLAIN_SECONDS, ProgressLine


class Terminal(StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("pipeline.progress.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def shown(clock, seconds, updates, workers=1):
    """The text after updates `(worker, done, total)`: one at once, the others `seconds` later."""
    line = ProgressLine("train a", "steps", workers, StringIO())
    line.update(*updates[0])
    clock.now += seconds
    for update in updates[1:]:
        line.update(*update)
    return line.line(clock.now)


def test_a_terminal_shows_one_line_that_renews_itself(clock):
    stream = Terminal()
    line = ProgressLine("train a", "steps", 1, stream)
    line.update(0, 0, 100)
    clock.now += 1
    line.update(0, 10, 100, "loss 0.5")
    line.close()
    text = stream.getvalue()
    assert "\n" not in text
    assert text.count("\r\x1b[2K") == 3  # each begins by wiping the one before; the end leaves nothing
    assert "train a:  10 %, 10 steps/s, 0:09 left  loss 0.5" in text
    assert text.endswith("\r\x1b[2K")


def test_elsewhere_it_is_a_plain_line_now_and_then(clock):
    stream = StringIO()
    line = ProgressLine("train a", "steps", 1, stream)
    for step in range(100):
        clock.now += 1
        line.update(0, step, 100)
    line.close()
    lines = stream.getvalue().splitlines()
    assert 2 <= len(lines) <= 100 / PLAIN_SECONDS
    assert all(text.startswith("train a: ") for text in lines)
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_short_work_says_nothing_in_a_log(clock):
    stream = StringIO()
    line = ProgressLine("train a", "steps", 1, stream)
    clock.now += PLAIN_SECONDS / 2
    line.update(0, 50, 100)
    line.close()
    assert stream.getvalue() == ""


def test_the_time_left_is_that_of_all_workers(clock):
    # 40 of 400 steps in 10 s: 4 a second, and 90 s for the other 360.
    text = shown(clock, 10, [(0, 0, 200), (1, 0, 200), (0, 20, 200), (1, 20, 200)], workers=2)
    assert "10 %, 4 steps/s, 1:30 left" in text


def test_workers_that_have_not_begun_are_still_to_come(clock):
    text = shown(clock, 10, [(0, 0, 100), (0, 100, 100)], workers=3)
    assert "33 %, 10 steps/s, 0:20 left" in text


def test_a_resumed_worker_is_not_faster_than_it_is(clock):
    text = shown(clock, 10, [(0, 900, 1000), (0, 910, 1000)])
    assert "91 %, 1 steps/s, 1:30 left" in text


def test_before_anything_is_done_the_time_left_is_unknown(clock):
    assert "0 %, 0 steps/s, time left unknown" in shown(clock, 10, [(0, 0, 100)])
    assert "time left unknown" in shown(clock, 10, [(0, 900, 1000)])


def test_nothing_to_do_is_done(clock):
    assert "100 %" in shown(clock, 0, [(0, 0, 0)])


def test_slow_work_has_a_rate_too(clock):
    assert "5 %, 0.05 steps/s, 31:40 left" in shown(clock, 100, [(0, 0, 100), (0, 5, 100)])


def test_hours_are_told_as_hours(clock):
    text = shown(clock, 60, [(0, 0, 10_000), (0, 60, 10_000)])
    assert "1 steps/s, 2:45:40 left" in text


def test_notes_stand_in_the_order_of_the_workers(clock):
    line = ProgressLine("train a", "steps", 2, StringIO())
    line.update(1, 0, 10, "loss 2")
    line.update(0, 0, 10, "loss 1")
    assert line.line(clock.now).endswith("loss 1 | loss 2")
