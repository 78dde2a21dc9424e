"""How a run gets on: one line on a terminal, one below a bar in a notebook, few lines in a file."""

import io
import re
import sys
from types import SimpleNamespace

import pytest

from boxtune.training import loggers
from boxtune.training.callbacks import Step
from boxtune.training.loggers import Progress

LOSSES = {"localization_loss": 0.5, "classification_loss": 1.25, "regularization_loss": 0.25}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Time that passes as error."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(loggers.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def run(progress, clock, numbers, seconds=0.4):
    for number in numbers:
        clock.now += seconds
        progress.add_step(Step(number, LOSSES, 0.08, 7.0, 8, seconds))


def test_a_line_has_everything(clock):
    stream = io.StringIO()
    progress = Progress(0, 101, stream)
    run(progress, clock, [1], seconds=30.0)  # compiles
    progress.note = "mAP 0.400 at 50"
    run(progress, clock, range(2, 27), seconds=0.4)
    # Ten seconds after the first step: 25 steps of 0.4 s each; 75 more will take 30 s.
    assert stream.getvalue().splitlines()[1] == (
        "step 26/101  loss 2.000 (localization 0.500 classification 1.250 regularization 0.250)  lr 0.08  "
        "20.0 images/s  0:00:30 left  mAP 0.400 at 50"
    )


def test_outside_a_terminal_lines_are_few(clock):
    stream = io.StringIO()
    run(Progress(0, 100, stream), clock, range(1, 101), seconds=0.5)
    # The first, the last, and one in every ten seconds: 20 steps.
    assert re.findall(r"step (\d+)/100 ", stream.getvalue()) == ["1", "21", "41", "61", "81", "100"]
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_has_one_line_written_over(clock):
    stream = Terminal()
    run(Progress(0, 3, stream), clock, [1, 2, 3])
    assert stream.getvalue().count("\r\x1b[K") == 3
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("\n")


def test_a_terminal_is_not_flooded(clock):
    stream = Terminal()
    run(Progress(0, 1000, stream), clock, range(1, 101), seconds=0.01)
    assert stream.getvalue().count("\r") <= 12


def test_a_line_never_wraps(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    run(Progress(0, 9, stream), clock, [1])
    assert len(stream.getvalue().removeprefix("\r\x1b[K")) == 39


def test_the_time_left_includes_what_happens_between_the_steps(clock):
    stream = io.StringIO()
    progress = Progress(0, 21, stream)
    run(progress, clock, range(1, 11), seconds=1.0)
    clock.now += 91.0  # an evaluation
    run(progress, clock, [11], seconds=1.0)
    # Ten steps took 101 s, ten are left.
    assert "0:01:41 left" in stream.getvalue().splitlines()[-1]


def test_a_resumed_run_counts_its_own_time(clock):
    stream = io.StringIO()
    run(Progress(500, 600, stream), clock, range(501, 512), seconds=1.0)
    assert "step 511/600" in stream.getvalue()
    assert "0:01:29 left" in stream.getvalue()


def test_messages_between_steps_are_for_terminals(clock):
    plain, terminal = io.StringIO(), Terminal()
    for stream in (plain, terminal):
        progress = Progress(0, 9, stream)
        progress.show("evaluating")
        progress.clear()
    assert plain.getvalue() == ""
    assert terminal.getvalue() == "\r\x1b[Kevaluating\r\x1b[K"


class Cell(io.StringIO):
    """What a notebook's kernel has as standard output."""


@pytest.fixture
def shown(monkeypatch):
    """What a notebook is given to show, the first in a place of its own and each later one in its place."""
    display = pytest.importorskip("IPython.display")
    contents = []

    def show(content, *, raw, display_id):
        assert (raw, display_id, contents) == (True, True, [])
        contents.append(content)
        return SimpleNamespace(update=lambda content, raw: contents.append(content))

    monkeypatch.setattr(display, "display", show)
    monkeypatch.setitem(sys.modules, "ipykernel.iostream", SimpleNamespace(OutStream=Cell))
    return contents


def values(shown):
    return [float(re.search(r'<progress max="1" value="([\d.]+)"', one["text/html"])[1]) for one in shown]


def test_a_notebook_has_a_bar(shown, clock):
    stream = Cell()
    run(Progress(0, 4, stream), clock, [1, 2, 3, 4], seconds=0.6)
    assert values(shown) == [0.25, 0.5, 0.75, 1]
    assert shown[-1]["text/plain"].startswith("step 4/4  loss 2.000 ")
    assert f">{shown[-1]['text/plain']}</pre>" in shown[-1]["text/html"]
    assert stream.getvalue() == ""


def test_a_notebook_is_not_flooded(shown, clock):
    run(Progress(0, 1000, Cell()), clock, range(1, 201), seconds=0.01)
    assert len(shown) <= 6


def test_a_notebook_shows_each_evaluation_when_it_comes(shown, clock):
    progress = Progress(0, 4, Cell())
    progress.note = "nothing yet"
    assert shown == []
    run(progress, clock, [1])
    progress.show("step 1: evaluating on <40> images")
    progress.clear()
    assert "evaluating on &lt;40&gt; images</pre>" in shown[-1]["text/html"]
    progress.note = "mAP 0.400 at 1"
    assert shown[-1]["text/plain"].endswith("20.0 images/s  mAP 0.400 at 1")
    assert values(shown) == [0.25] * 3


def test_what_a_notebook_writes_to_a_file_is_as_ever(shown, clock):
    stream = io.StringIO()
    run(Progress(0, 1, stream), clock, [1])
    assert stream.getvalue().startswith("step 1/1 ")
    assert shown == []
