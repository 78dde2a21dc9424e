"""Learning on real photographs: minutes, run by `make test-slow`."""

import os

import pytest

from boxtune.data.preparation import Options
from boxtune.retrain import retrain

pytestmark = [pytest.mark.slow, pytest.mark.shared]


def test_retraining_on_forty_held_out_raccoons(shared, tmp_path):
    photos = shared / "data" / "voc" / "raccoon"
    names = sorted((path.name for path in (photos / "images").iterdir()), key=os.fsencode)
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("\n".join(names[-40:]))
    result = retrain(
        photos,
        tmp_path / "model",
        checkpoint=shared / "checkpoints" / "ssd_mobilenet_v2_fpnlite_224x224_a050_coco",
        options=Options(validation_files=held_out),
    )
    print(result)
    assert result.best.num_images == 40
    # The API reached 0.497 and 0.907 from the same checkpoint in as many steps (one run).
    assert result.mean_average_precision > 0.55
    assert result.ap50 > 0.9
