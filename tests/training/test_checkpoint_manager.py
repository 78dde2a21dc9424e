"""Checkpoints come whole or not at all, and whenever a process is killed one can go on from the last."""

import os

import pytest
import tensorflow as tf

from boxtune.errors import CheckpointError
from boxtune.training import checkpoint_manager, checkpoints
from boxtune.training.checkpoint_manager import CheckpointManager


class Run:
    """A value that is trained, and the manager of its checkpoints."""

    def __init__(self, folder, **options):
        self.step = tf.Variable(0, dtype=tf.int64)
        self.manager = CheckpointManager({"step": self.step}, folder, **{"max_to_keep": 3} | options)

    def save_at(self, *steps):
        for step in steps:
            self.step.assign(step)
            self.prefix = self.manager.save()
        return self.prefix


def steps(folder):
    """Return the step of each checkpoint in a folder, by its number."""
    found = {checkpoints.number_of(path.stem): path for path in folder.glob("ckpt-*.index")}
    return {number: checkpoints.step_of(str(path.with_suffix(""))) for number, path in sorted(found.items())}


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_the_newest_are_kept(tmp_path):
    assert Run(tmp_path).save_at(10, 20, 30, 40, 50) == str(tmp_path / "ckpt-5")
    assert steps(tmp_path) == {3: 30, 4: 40, 5: 50}
    assert names(tmp_path) == {"checkpoint"} | {
        f"ckpt-{number}.{part}" for number in (3, 4, 5) for part in ("index", "data-00000-of-00001")
    }


def test_every_nth_step_is_kept_for_good(tmp_path):
    Run(tmp_path, max_to_keep=1, keep_every_n=20).save_at(10, 20, 30, 40, 50)
    assert steps(tmp_path) == {2: 20, 4: 40, 5: 50}


def test_a_resumed_run_continues_the_numbers_and_removes_old_checkpoints(tmp_path):
    Run(tmp_path).save_at(10, 20, 30)
    assert Run(tmp_path).save_at(40) == str(tmp_path / "ckpt-4")
    assert steps(tmp_path) == {2: 20, 3: 30, 4: 40}


def test_tensorflow_finds_them(tmp_path):
    Run(tmp_path).save_at(10, 20, 30, 40)
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "ckpt-4")
    assert list(state.all_model_checkpoint_paths) == [str(tmp_path / f"ckpt-{n}") for n in (2, 3, 4)]
    other = Run(tmp_path)
    root = checkpoints.tree({"step": other.step})
    root.restore(str(tmp_path / "ckpt-4")).assert_consumed()
    assert (int(other.step), int(root.save_counter)) == (40, 4)


def test_checkpoints_of_others_are_left_alone(tmp_path):
    checkpoints_of_others = tf.train.Checkpoint(step=tf.Variable(0))
    checkpoints_of_others.write(str(tmp_path / "mine"))
    checkpoints_of_others.write(str(tmp_path / "ckpt-7"))
    Run(tmp_path, max_to_keep=1).save_at(10, 20, 30)
    assert {"mine.index", "mine.data-00000-of-00001", "ckpt-10.index"} <= names(tmp_path)


def test_a_record_outside_the_folder_is_ignored(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    Run(outside).save_at(10)
    Run(inside).save_at(10)
    (inside / "checkpoint").write_text(
        'model_checkpoint_path: "ckpt-1"\n' + f'all_model_checkpoint_paths: "{outside / "ckpt-1"}"\n' * 5
    )
    Run(inside, max_to_keep=1).save_at(20, 30)
    assert steps(outside) == {1: 10}


class Killed(BaseException):
    """What ends a run at some call, without any tidying up behind it."""


def count_calls(monkeypatch, limit=None):
    """Count what changes the file system; the call after `limit` of them is not made, nor any later one."""
    calls = []

    def counted(original):
        def call(*arguments, **options):
            if limit is not None and len(calls) >= limit:
                raise Killed
            calls.append(original)
            return original(*arguments, **options)

        return call

    module = checkpoint_manager
    for owner, name in ((os, "replace"), (os, "unlink"), (module.shutil, "rmtree"), (module.Path, "unlink"),
                        (module.Path, "write_text"), (tf.train.Checkpoint, "write")):  # fmt: skip
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    return calls


@pytest.mark.parametrize("max_to_keep", [1, 2])
def test_a_kill_between_any_two_calls_costs_no_checkpoint(tmp_path, monkeypatch, max_to_keep):
    def start(folder):
        run = Run(folder, max_to_keep=max_to_keep)
        run.save_at(10, 20)
        run.step.assign(30)
        return run.manager

    manager = start(tmp_path / "whole")
    with monkeypatch.context() as patched:
        calls = count_calls(patched)
        manager.save()
    assert len(calls) > 6
    seen = set()
    for limit in range(len(calls)):
        folder = tmp_path / str(limit)
        manager = start(folder)
        with monkeypatch.context() as patched:
            count_calls(patched, limit)
            with pytest.raises(Killed):
                manager.save()
        left = checkpoints.step_of(checkpoints.find(folder))  # reads it
        seen.add(left)
        # Resuming from there leaves a folder without a trace of the kill.
        Run(folder, max_to_keep=max_to_keep).save_at(left + 10)
        assert list(steps(folder).values())[-max_to_keep:] == [left, left + 10][-max_to_keep:]
        assert len(steps(folder)) == max_to_keep
        assert len(names(folder)) == 2 * max_to_keep + 1
    assert seen == {20, 30}


def test_the_remains_of_a_killed_write_are_removed(tmp_path):
    Run(tmp_path).save_at(10)
    (tmp_path / ".partial-checkpoint" / "ckpt-2_temp").mkdir(parents=True)
    (tmp_path / "ckpt-2.data-00000-of-00001").write_bytes(b"half of i")
    Run(tmp_path).manager.tidy()
    assert names(tmp_path) == {"checkpoint", "ckpt-1.index", "ckpt-1.data-00000-of-00001"}


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), tf.errors.ResourceExhaustedError(None, None, "No space left")],
)
def test_a_full_disk_costs_no_checkpoint(tmp_path, monkeypatch, error):
    run = Run(tmp_path)
    run.save_at(10)
    before = names(tmp_path)

    def full(self, prefix):
        os.makedirs(os.path.dirname(prefix))
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(tf.train.Checkpoint, "write", full)
        with pytest.raises(CheckpointError, match="ckpt-2 cannot be written: No space left"):
            run.save_at(20)
    assert names(tmp_path) == before
    assert run.save_at(20) == str(tmp_path / "ckpt-2")
