"""Two packages of one name; modules that are not there; programs of TensorFlow 1."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import patience
from boxtune import cli, drop_in
from boxtune.doctor import Findings, doctor

SOURCES = Path(cli.__file__).parents[1]


def distribution(site, name, files):
    """Write what pip keeps of a distribution that brought files."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    rows = [f"{file.relative_to(site).as_posix()},sha256=x,{file.stat().st_size}" for file in files]
    (info / "RECORD").write_text("\n".join([*rows, f"{info.name}/RECORD,,", ""]))
    return info


@pytest.fixture
def site(tmp_path):
    """A folder in which both packages are installed as pip installs them."""
    folder = tmp_path / "site"
    for name in ("boxtune", "object_detection"):
        shutil.copytree(SOURCES / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    distribution(folder, "boxtune", list((folder / "object_detection").rglob("*.py")))
    return folder


def run(site, *words):
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-W", "default", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patience.SECONDS)


IMPORT = ("-c", "from object_detection.utils import label_map_util; print(label_map_util.__file__)")


class TestTwoPackages:
    def test_ours_alone(self, site):
        done = run(site, *IMPORT)
        assert (done.stdout.strip(), done.stderr) == (f"{site}/object_detection/utils/label_map_util.py", "")

    def test_another_over_it(self, site):
        theirs = site / "object_detection" / "utils" / "ops.py"
        theirs.write_text("# theirs\n")
        (distribution(site, "object_detection", [theirs]) / "top_level.txt").write_text("object_detection\n")
        done = run(site, *IMPORT)
        assert done.returncode == 0
        assert "object-detection brings a package object_detection, too" in done.stderr
        assert "pip uninstall -y object-detection && pip install --force-reinstall" in done.stderr
        assert "1 file of boxtune's object_detection is missing or replaced" in done.stderr
        assert "such as object_detection/utils/ops.py" in done.stderr

    def test_the_other_removed(self, site):
        shutil.rmtree(site / "object_detection" / "utils")
        done = run(site, *IMPORT)
        assert (
            "object_detection.utils: object_detection/utils/__init__.py was deleted or replaced"
            in done.stderr
        )
        assert "pip install --force-reinstall --no-deps boxtune" in done.stderr

    def test_the_first_file_replaced(self, site):
        (site / "object_detection" / "__init__.py").write_text("")
        done = run(site, "-m", "boxtune", "models")
        assert done.returncode == 0
        assert done.stderr == (
            "boxtune: another package has replaced boxtune's object_detection: `boxtune doctor` says more\n"
        )

    def test_a_distribution_without_top_level(self, site, monkeypatch):
        distribution(site, "poetic", [site / "object_detection" / "utils" / "ops.py"])
        monkeypatch.setattr(sys, "path", [str(site)])
        assert drop_in.others_at_a_glance() == []
        assert drop_in.others() == ["poetic"]

    def test_another_found_first(self, site, monkeypatch):
        monkeypatch.setattr(sys, "path", [str(site)])
        assert drop_in.elsewhere() == site / "object_detection"
        assert drop_in.elsewhere(site / "object_detection") is None
        (fault,) = drop_in.faults([], [], site / "object_detection")
        assert f"finds {site}/object_detection, not boxtune's in {drop_in.PACKAGE}" in fault

    def test_no_list_of_files(self, tmp_path):
        (tmp_path / "__init__.py").write_text('"""Of boxtune."""')
        assert drop_in.lost_files(tmp_path) == []
        (tmp_path / "__init__.py").unlink()
        assert drop_in.lost_files(tmp_path) == ["object_detection/__init__.py"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("object_detection.utils.label_map_utils", 'Did you mean "label_map_util"?'),
        ("object_detection.legacy.trainer", "`boxtune train` trains"),
        ("object_detection.exporter", "exporter_lib_v2.export_inference_graph"),
        ("object_detection.builders.graph_rewriter_builder", "`boxtune export --precision int8`"),
        ("object_detection.builders.model_builder_test", "builders.model_builder_tf2_test` checks"),
        ("object_detection.models.ssd_resnet_v1_fpn_feature_extractor", "builders.model_builder.build"),
        ("object_detection.dataset_tools.create_ava_actions_tf_record", "`boxtune convert`"),
    ],
)
def test_a_module_that_is_not_there(name, told):
    with pytest.raises(ModuleNotFoundError) as error:
        __import__(name)
    assert "this is boxtune's object_detection, which has no" in str(error.value)
    assert told in str(error.value)


def test_a_name_that_is_not_there():
    with pytest.raises(ModuleNotFoundError, match=r"which has no utils\.nothing"):
        from object_detection.utils import nothing  # noqa: F401


@pytest.mark.parametrize(
    ("program", "flags", "told"),
    [
        (
            "legacy/train",
            ["--logtostderr", "--train_dir=my runs", "--pipeline_config_path", "a.config"],
            "boxtune train --pipeline_config_path a.config --model_dir 'my runs'",
        ),
        ("train", [], "boxtune train --pipeline_config_path PIPELINE.CONFIG --model_dir FOLDER"),
        (
            "model_main",
            [
                "-model_dir",
                "m",
                "--num_train_steps=50",
                "--alsologtostderr",
                "--pipeline_config_path=a.config",
            ],
            "boxtune train --pipeline_config_path a.config --model_dir m --num_train_steps 50",
        ),
        ("model_tpu_main", ["--use_tpu", "false"], "boxtune train --pipeline_config_path"),
        (
            "legacy/eval",
            ["--checkpoint_dir=c", "--eval_dir=e", "--pipeline_config_path=a.config"],
            "boxtune evaluate --pipeline_config_path a.config --checkpoint c --output_dir e",
        ),
        ("eval", [], "boxtune evaluate --pipeline_config_path PIPELINE.CONFIG --checkpoint FOLDER\n"),
        (
            "export_inference_graph",
            ["--input_type", "image_tensor", "--trained_checkpoint_prefix=m/model.ckpt-9"],
            "--checkpoint m/model.ckpt-9 --output_dir FOLDER --input_type image_tensor",
        ),
        ("export_tflite_ssd_graph", ["--output_directory=o"], "boxtune export --format tflite"),
    ],
)
def test_programs_of_tensorflow_1(program, flags, told, monkeypatch, capsys):
    file = SOURCES / "object_detection" / f"{program}.py"
    monkeypatch.setattr(sys, "argv", [str(file), *flags])
    with pytest.raises(SystemExit) as ended:
        exec(compile(file.read_text(), str(file), "exec"), {"__name__": "__main__"})
    assert ended.value.code == 2
    answer = capsys.readouterr().err
    assert told in answer
    assert answer.startswith(f"boxtune: {file.stem}.py ")


class TestDoctor:
    def test_this_installation(self, capsys):
        assert cli.main(["doctor"]) == 0
        told = capsys.readouterr().out
        assert told.endswith("Nothing is wrong.\n")
        for line in (
            f"keras +{metadata.version('keras')}",
            "GPUs +none",
            "memory +[0-9.]+ GiB",
            "onnx +installed",
        ):
            assert re.search(line, told), line

    def test_a_package_of_another_version(self, monkeypatch):
        found = metadata.distribution("rich")
        monkeypatch.setattr(type(found), "version", property(lambda self: "12.1"))
        faults = doctor().faults
        assert 'rich: 12.1, needed is >=13. Run: pip install "rich>=13"' in faults

    def test_a_backend_that_does_not_load(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "boxtune.backends", None)
        (fault,) = doctor().faults
        assert fault.startswith("Keras or its backend cannot be loaded: ModuleNotFoundError: ")

    def test_a_driver_without_a_gpu(self, monkeypatch):
        monkeypatch.setattr("boxtune.backends.has_nvidia_driver", lambda: True)
        monkeypatch.setattr("boxtune.backends.gpus", list)
        (fault,) = doctor().faults
        assert fault.endswith('sees no GPU: pip install "boxtune[gpu]"')

    def test_an_extra_that_is_not_there(self, monkeypatch):
        real = metadata.distribution

        def distribution(name):
            if name == "onnxruntime":
                raise metadata.PackageNotFoundError(name)
            return real(name)

        monkeypatch.setattr(metadata, "distribution", distribution)
        found = doctor()
        assert not found.faults
        onnx = dict(found.sections["Extras"])["onnx"]
        assert onnx == 'onnxruntime: not installed. To have it: pip install "boxtune[onnx]"'

    def test_faults_are_listed(self):
        text = str(Findings({"A": [("one", "1"), ("longer", "2")]}, ["first", "second"]))
        assert text == "A\n  one     1\n  longer  2\n\n2 faults:\n  first\n  second"
