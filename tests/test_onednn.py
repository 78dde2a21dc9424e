"""oneDNN is on where TensorFlow is loaded, but where the user or the run that goes on has it off."""

import json
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

import patience
from boxtune import cli, member, onednn
from boxtune.training import provenance

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        platform.machine().lower() not in ("x86_64", "amd64"), reason="elsewhere TensorFlow decides"
    ),
]


def runs(code, *arguments, setting=None):
    """Run Python code where nothing is imported yet; return what it prints, and what it says on standard error."""
    environment = {name: value for name, value in os.environ.items() if name != onednn.VARIABLE}
    environment |= {} if setting is None else {onednn.VARIABLE: setting}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=patience.SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.fixture
def run_without(tmp_path):
    """The `run.json` of a run whose last part had oneDNN off."""
    provenance.write(tmp_path / "run.json", [{"step": 0, "oneDNN": "on"}, {"step": 9, "oneDNN": "off"}])
    return tmp_path / "run.json"


def test_a_command_loads_tensorflow_with_it_and_without_a_word():
    code = (
        "from boxtune import cli, onednn; "
        "cli.run(lambda: print(cli.load('train').__name__, onednn.is_on()), {})"
    )
    assert runs(code) == ("boxtune.train True", "")


def test_a_run_goes_on_as_it_was(run_without):
    code = (
        "import sys; from boxtune import cli, onednn; cli.load('train', sys.argv[1]); print(onednn.is_on())"
    )
    assert runs(code, run_without.parent)[0] == "False"


FOLLOW = (
    "import os, sys, pathlib, boxtune; boxtune.onednn.follow_run(pathlib.Path(sys.argv[1])); "
    "print(os.environ['TF_ENABLE_ONEDNN_OPTS'], 'tensorflow' in sys.modules)"
)


@pytest.mark.parametrize(("setting", "left"), [(None, "None"), ("0", "0"), ("1", "1")])
def test_what_takes_single_images_leaves_it_to_tensorflow(setting, left):
    code = "import os; from boxtune import onednn; onednn.leave_to_tensorflow(); print(os.environ.get(onednn.VARIABLE))"
    assert runs(code, setting=setting) == (left, "")


@pytest.mark.parametrize("setting", ["0", "1", "false"])
def test_what_the_user_has_set_stays(run_without, setting):
    assert runs(FOLLOW, run_without, setting=setting) == (f"{setting} False", "")


@pytest.mark.parametrize(
    "content",
    [None, b"", b"junk", b"[]", b"{}", b"[1]", b'[{"step": 1}]', b'[{"oneDNN": [0]}]', b"\xff", b"[" * 99_999],
    ids=lambda content: repr(content)[:9],
)  # fmt: skip
def test_no_run_that_tells(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    assert runs(FOLLOW, tmp_path / "run.json") == ("1 False", "")


def test_tensorflow_that_was_imported_first_without_it_is_told_once():
    # Off, as TensorFlow has it on many a CPU by itself.
    code = (
        "import os, tensorflow; del os.environ['TF_ENABLE_ONEDNN_OPTS']; import boxtune, boxtune.cli; "
        "from boxtune import onednn; print(onednn.is_on(), os.environ.get('TF_ENABLE_ONEDNN_OPTS'))"
    )
    told, errors = runs(code, setting="0")
    assert told == "False None"
    assert errors.count("import boxtune first, or set TF_ENABLE_ONEDNN_OPTS=1") == 1


def test_tensorflow_that_was_imported_first_by_a_user_who_has_it_off(monkeypatch, caplog):
    monkeypatch.setattr(onednn, "is_on", lambda: False)
    monkeypatch.setenv(onednn.VARIABLE, "0")
    onednn.switch_on()
    assert not caplog.records
    monkeypatch.delenv(onednn.VARIABLE)
    onednn.switch_on()
    assert len(caplog.records) == 1
    assert onednn.VARIABLE not in os.environ  # it would do nothing any more


@pytest.mark.parametrize("verb", ["train", "retrain", "member"])
def test_each_command_that_may_go_on_asks_the_run(verb, tmp_path, monkeypatch):
    asked = []
    fake = SimpleNamespace(
        train=lambda **options: None,
        retrain=lambda **options: None,
        publish=None,
        training_images=None,
        doubt=None,
        CheckpointOptions=dict,
        Reporting=lambda *parts: parts,
        EvaluationOptions=dict,
    )
    monkeypatch.setattr(onednn, "follow_run", asked.append)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: asked.append(name) or fake)
    if verb == "member":
        monkeypatch.setattr(
            sys, "argv", ["", json.dumps({"model_dir": str(tmp_path)}), str(tmp_path / "error")]
        )
        monkeypatch.setattr(member, "_leave_when_left", lambda: None)
        assert member.main() == 0
        verb = "train"
    else:
        given = ["--pipeline_config_path", "c"] if verb == "train" else ["photos"]
        assert cli.main([verb, *given, "--model_dir", str(tmp_path)]) == 0
    assert asked[:2] == [tmp_path / "run.json", f"boxtune.{verb}"]
