"""Cross-validation: each fold is trained apart, and every image is measured once."""

import json
import statistics

import pytest

from boxtune import cli, models
from boxtune.cross_validate import CrossValidation, cross_validate
from boxtune.data.preparation import Options
from boxtune.draw import draw
from boxtune.errors import DataError
from boxtune.retrain import RetrainResult
from boxtune.training.validation import Best
from tiny_run import SIDE, TinyDetector

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

SIZE = f"model.ssd.image_resizer.fixed_shape_resizer={{height: {SIDE} width: {SIDE}}}"


@pytest.mark.thorough
def test_the_command_trains_all_folds_and_measures_every_image_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "build", lambda section, options=None: TinyDetector())
    draw(tmp_path / "photos", num_images=6)
    flags = ["--num_steps", "1", "--batch_size", "2", "--evaluate_every_n", "0", "--set", SIZE]
    command = [
        "retrain",
        str(tmp_path / "photos"),
        "--model_dir",
        str(tmp_path / "folds"),
        "--folds",
        "2",
        *flags,
    ]
    assert cli.main(command) == 0
    validated = [(tmp_path / f"folds/fold-{n}/records/validation.list").read_text().split() for n in (1, 2)]
    assert len(validated[0]) == len(validated[1]) == 3
    assert len({*validated[0], *validated[1]}) == 6
    found = json.loads((tmp_path / "folds/cross_validation.json").read_text())
    values = [fold["mAP"] for fold in found["folds"]]
    assert found["mean_mAP"] == pytest.approx(statistics.fmean(values))
    assert f"mAP {found['mean_mAP']:.3f} on average" in capsys.readouterr().out


def result(folder, value):
    values = {"DetectionBoxes_Precision/mAP": value, "DetectionBoxes_Precision/mAP@.50IOU": value}
    return RetrainResult(folder, Best("mAP", value, 1, "ckpt-1", num_images=3, values=values))


def test_mean_and_spread(tmp_path):
    """0.5, 0.7 and 0.6 have the mean 0.6 and a standard deviation of 0.1; a fold without objects does not count."""
    found = CrossValidation(tmp_path, [result(tmp_path, value) for value in (0.5, 0.7, -1.0, 0.6)])
    assert (found.mean, found.spread) == (pytest.approx(0.6), pytest.approx(0.1))
    assert "mAP 0.600 on average, standard deviation 0.100, over 3 folds" in str(found)


def test_a_fold_needs_their_number_and_folds_are_for_retrain(tmp_path, capsys):
    with pytest.raises(DataError, match="give their number, too"):
        Options(fold=2)
    with pytest.raises(DataError, match="needs a number of folds"):
        cross_validate(tmp_path, tmp_path / "folds", options=Options())
    draw(tmp_path / "photos", num_images=4)
    assert cli.main(["check", str(tmp_path / "photos"), "--folds", "2"]) == 1
    assert "`boxtune retrain` trains all of them without it" in capsys.readouterr().out
