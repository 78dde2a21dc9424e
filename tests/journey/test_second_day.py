"""The second day of a project: more images, a new class, a corrected label; killed anywhere, it goes on.

No image ever changes sides, no figure belongs to another model or other images than it names.
"""

import contextlib
import io
import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from boxtune import cli
from boxtune.data.label_map import read_label_map
from boxtune.training.project import RESULTS, best_run, runs_of, start_of

pytestmark = pytest.mark.large

SMALL = [
    *("--num_steps", "3", "--batch_size", "2", "--evaluate_every_n", "0"),
    *("--set", "model.ssd.image_resizer.fixed_shape_resizer={height: 96 width: 96}"),
    *("--set", "model.ssd.feature_extractor.depth_multiplier=0.35"),
]


def boxtune(*arguments, status=0):
    """Run the command line in this process and return what it printed."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        assert cli.main(list(map(str, arguments))) == status
    return output.getvalue()


def retrain(*flags, status=0):
    return boxtune("retrain", "photos", "--model_dir", "mine", *SMALL, *flags, status=status)


def retrain_killed(rng, *flags):
    """Kill `retrain` at a random moment, and run it again until it ends."""
    command = [sys.executable, "-m", "boxtune", "retrain", "photos", "--model_dir", "mine", *SMALL, *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(rng.uniform(3, 20))
    process.send_signal(signal.SIGKILL)
    process.wait()
    return retrain(*flags)


def sides(run):
    """Return the side of each image of a run."""
    return {
        name: part
        for part in ("train", "validation")
        for name in (run / "records" / f"{part}.list").read_text().split()
    }


def add_images(count, folder="photos"):
    boxtune("draw", "more", "--num_images", count)
    for path in Path("more").rglob("*.*"):
        target = Path(folder, path.relative_to("more"))
        if not target.exists():
            path.rename(target)


def rename_in(paths, old, new):
    for path in paths:
        path.write_text(path.read_text().replace(f"<name>{old}</name>", f"<name>{new}</name>"))


def test_a_project_lives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    boxtune("draw", "photos", "--num_images", 14)
    known = {}

    def check_sides(run):
        """No image that was there before is on another side now."""
        now = sides(run)
        assert {name: now[name] for name in known} == known
        known.update(now)

    # The first day, interrupted.
    retrain_killed(rng)
    first = Path("mine")
    check_sides(first)
    assert len(known) == 14

    # More images: nothing is written without being told how to go on.
    add_images(20)
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    said = retrain(status=2)
    assert "images added: 6 (" in said
    assert "add --next_run" in said
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()} == before
    said = retrain_killed(rng, "--next_run")
    second = runs_of(first)[-1]
    assert second == Path("mine/runs/2")
    assert len(sides(second)) == 20
    check_sides(second)
    assert "The best run before, mine, on the same images:" in said
    assert json.loads((second / RESULTS).read_text())["known_classes"]["is_of_all"]

    # A new class: cups that were called mugs.
    annotations = sorted(Path("photos").rglob("*.xml"))
    rename_in(annotations[::2], "mug", "cup")
    retrain_killed(rng, "--next_run")
    third = runs_of(first)[-1]
    assert third == Path("mine/runs/3")
    check_sides(third)
    names = read_label_map(third / "records" / "label_map.pbtxt").names
    assert "cup" in names
    assert "mug" in names
    compared = json.loads((third / RESULTS).read_text())["known_classes"]
    assert not compared["is_of_all"]
    assert set(compared["classes"]) == set(names) - {"cup"}
    assert best_run(runs_of(first)) == third  # which alone knows all classes

    # What the model doubts is listed, and nothing is written; a label is corrected.
    boxtune("check", "photos", "--model", "mine", "--report", "check.json", "--page", "check.html")
    doubts = json.loads(Path("check.json").read_text())["doubts"]
    assert doubts["models"] == ["mine"]
    assert doubts["compared_images"] == 20
    wrong = next(path for path in annotations if "<name>mug</name>" in path.read_text())
    rename_in([wrong], "mug", "cup")
    retrain("--next_run")
    fourth = runs_of(first)[-1]
    check_sides(fourth)
    assert any(wrong.stem in change for change in start_of(fourth).changes)

    # The table names all four, and the best is what is used.
    table = boxtune("runs", "mine")
    assert re.findall(r"^([1-4]) ", table, re.MULTILINE) == ["1", "2", "3", "4"]
    best = best_run(runs_of(first))
    assert f"{best}. `evaluate`, `export` and `predict` take it." in table
    boxtune("predict", "mine", "photos/images", "--output_dir", "drawn")
    assert len(list(Path("drawn").rglob("*.jpg"))) + len(list(Path("drawn").rglob("*.png"))) == 20
