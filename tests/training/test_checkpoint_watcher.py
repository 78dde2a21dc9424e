"""Every checkpoint of a training once, the oldest first, until it has ended."""

import json

import pytest

from boxtune.errors import CheckpointError
from boxtune.training import checkpoint_watcher, checkpoints
from boxtune.training.checkpoint_watcher import watch_checkpoints

LAST_STEP = 100


class Training:
    """A training that another process makes: what happens to its folder whenever it is waited for."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.happens, self.now = folder, [], 0.0
        monkeypatch.setattr(checkpoint_watcher.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(checkpoint_watcher.time, "sleep", self.sleep)
        # The name says after how many steps: ckpt-3 is written after 30.
        monkeypatch.setattr(checkpoints, "step_of", lambda prefix: 10 * checkpoints.number_of(prefix))

    def sleep(self, seconds):
        self.now += seconds
        if self.happens:
            self.happens.pop(0)()

    def write(self, *numbers):
        for number in numbers:
            (self.folder / f"ckpt-{number}.index").touch()

    def remove(self, *numbers):
        for number in numbers:
            (self.folder / f"ckpt-{number}.index").unlink()

    def begin(self):
        (self.folder / "run.json").write_text(json.dumps([{"step": 0}]))

    def end(self):
        (self.folder / "run.json").write_text(json.dumps([{"step": 0, "ended_after_step": 40}]))

    def follow(self, **options):
        for prefix in watch_checkpoints(self.folder, last_step=LAST_STEP, **options):
            yield checkpoints.number_of(prefix)


@pytest.fixture
def training(tmp_path, monkeypatch):
    return Training(tmp_path, monkeypatch)


def test_existing_ones_by_their_numbers(training):
    training.write(10, 9, 2)
    assert list(training.follow()) == [2, 9, 10]
    assert training.now == 0


def test_none(training):
    with pytest.raises(CheckpointError, match="no checkpoint ckpt-N here"):
        list(training.follow())


def test_later_ones_are_waited_for_until_the_last_step(training):
    training.write(1, 2)
    training.happens = [lambda: None, lambda: training.write(3, 4), lambda: training.write(10)]
    assert list(training.follow(wait=True)) == [1, 2, 3, 4, 10]  # ckpt-10 is of step 100
    assert not training.happens


def test_a_training_that_says_that_it_has_ended(training):
    training.write(1)
    training.happens = [lambda: (training.write(4), training.end())]
    assert list(training.follow(wait=True)) == [1, 4]


def test_a_training_that_continues_beyond_its_configuration(training):
    training.begin()
    training.write(9, 10)
    training.happens = [lambda: training.write(11), lambda: training.write(12), training.end]
    assert list(training.follow(wait=True)) == [9, 10, 11, 12]


def test_a_training_that_had_ended_before(training):
    training.write(1, 4)
    training.end()
    assert list(training.follow(wait=True)) == [1, 4]
    assert training.now == 0


def test_no_new_one_for_too_long(training, capsys):
    training.write(1)
    training.happens = [*[lambda: None] * 9, lambda: training.write(2)]
    assert list(training.follow(wait=True, timeout=30.0)) == [1, 2]
    assert 50 <= training.now <= 55  # twenty seconds until the second, and thirty more
    assert "No new checkpoint in" in capsys.readouterr().out


def test_a_long_evaluation_is_not_waiting(training):
    training.write(1, 2)
    found = []
    for number in training.follow(wait=True, timeout=5.0):
        found.append(number)
        training.now += 1000
        if number == 2:
            training.write(10)
    assert found == [1, 2, 10]


def test_one_written_while_the_one_before_is_evaluated_is_not_missed(training):
    training.write(1)
    found = []
    for number in training.follow():
        found.append(number)
        if number < 4:
            training.write(number + 1)
    assert found == [1, 2, 3, 4]


def test_removed_ones_are_reported(training, caplog):
    training.write(1, 2, 3, 4)
    training.end()
    found = []
    for number in training.follow(wait=True):
        found.append(number)
        if number == 1:
            training.remove(2, 3)
    assert found == [1, 4]
    assert "ckpt-2 to ckpt-3 were removed before they could be evaluated" in caplog.text
    assert "--checkpoint_max_to_keep" in caplog.text
