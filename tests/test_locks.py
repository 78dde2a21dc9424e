"""One process at a time writes into a model directory."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys

import pytest

import patience
from boxtune import cli, config, models
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.data.files import LOCK, held, lent
from boxtune.draw import draw
from boxtune.errors import DataError
from boxtune.export import export
from flags import train_by_flags
from tiny_run import SIDE, TinyDetector

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

HOLD = """
import sys, time
from pathlib import Path
from boxtune.data.files import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder `mine`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "mine")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_who_holds_a_folder_is_named(holder, tmp_path):
    with pytest.raises(DataError) as caught, held(tmp_path / "mine"):
        pass
    said = str(caught.value)
    assert f"in use by process {holder.pid} on {platform.node()}, since 20" in said
    assert str(tmp_path / "mine") in said.partition("in use by")[2]  # its command
    assert (tmp_path / "mine" / LOCK).is_file()


def test_a_kill_leaves_no_lock(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with held(tmp_path / "mine"):
        assert json.loads((tmp_path / "mine" / LOCK).read_text())["pid"] == os.getpid()
    assert not list((tmp_path / "mine").iterdir())


def test_another_folder_is_free(holder, tmp_path):
    with held(tmp_path / "yours"), held(tmp_path / "yours"):
        pass
    assert not list((tmp_path / "yours").iterdir())


def test_another_name_of_a_folder_is_the_same_folder(holder, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(DataError, match="in use by"), held(tmp_path / "link"):
        pass


def other_process(folder):
    """Hold a folder in another process for a moment; return whether it could."""
    code = HOLD.replace("time.sleep(600)", "")
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, timeout=patience.SECONDS
    )
    return done.returncode == 0


def test_it_can_be_lent_to_another_process(tmp_path):
    with held(tmp_path):
        assert not other_process(tmp_path)
        with lent(tmp_path):
            assert other_process(tmp_path)
        assert not other_process(tmp_path)
    assert other_process(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images, records, a configuration and a model directory."""
    folder = tmp_path_factory.mktemp("locks")
    draw(folder / "photos", num_images=10)
    convert(folder / "photos", folder / "records")
    pipeline = configure(folder / "records", batch_size=2, num_steps=2)
    size = f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}"
    config.apply_override(pipeline, size)
    config.write(pipeline, folder / "pipeline.config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda section, options=None: TinyDetector())
        train_by_flags(folder / "pipeline.config", folder / "trained")
    return folder


@pytest.mark.parametrize("verb", ["retrain", "train", "lr-range", "export"])
def test_every_verb_that_writes_there(verb, folder, holder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "build", lambda section, options=None: TinyDetector())
    before = sorted(path.name for path in (tmp_path / "mine").iterdir())
    configured = ["--pipeline_config_path", folder / "pipeline.config"]
    arguments = {
        "retrain": [folder / "photos", "--model_dir", tmp_path / "mine"],
        "train": [*configured, "--model_dir", tmp_path / "mine"],
        "lr-range": [*configured, "--output_dir", tmp_path / "mine", "--num_steps", 12],
        "export": [*configured, "--checkpoint", folder / "trained", "--output_dir", tmp_path / "mine"],
    }
    assert cli.main([verb, *map(str, arguments[verb])]) == cli.USER_ERROR
    assert f"in use by process {holder.pid}" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == before


def test_an_evaluation_beside_a_training(folder, tmp_path, monkeypatch):
    """Writes its own files, while the training holds the folder."""
    monkeypatch.setattr(models, "build", lambda section, options=None: TinyDetector())
    shutil.copytree(folder / "trained", tmp_path / "mine")
    (tmp_path / "mine" / "evaluation.json").unlink()
    with held(tmp_path / "mine"):
        done = cli.main(["evaluate", "--model_dir", str(tmp_path / "mine")])
        assert done == 0
        waiting = ["evaluate", "--model_dir", str(tmp_path / "mine"), "--which", "all", "--wait"]
        assert cli.main(waiting) == 0
    assert (tmp_path / "mine" / "evaluation.json").is_file()


def test_no_export_into_a_model_directory_in_use(folder, holder, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "build", lambda section, options=None: TinyDetector())
    with pytest.raises(DataError, match=f"mine is in use by process {holder.pid}"):
        export(folder / "pipeline.config", folder / "trained", tmp_path / "mine" / "exported")
    assert not (tmp_path / "mine" / "exported").exists()
