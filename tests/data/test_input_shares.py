"""The fractions of a batch, put together again, are the batch."""

import numpy as np
import pytest
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.configure import configure
from boxtune.convert import convert
from boxtune.data.batching import training_batches, training_samples
from boxtune.data.input import open_records
from boxtune.draw import draw

RESIZER = text_format.Parse("fixed_shape_resizer { height: 8 width: 8 }", pipeline_pb2.ImageResizer())
BRIGHTER = text_format.Parse("random_adjust_brightness {}", pipeline_pb2.PreprocessingStep())


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shares")
    draw(folder / "photos", num_images=10)
    convert(folder / "photos", folder / "records")
    pipeline = configure(folder / "records")
    return open_records(pipeline.train_input_reader, pipeline.model.ssd.num_classes)


def first(records, count, **options):
    sample_at = training_samples(records, seed=3, augmentation_options=[BRIGHTER])
    stream = training_batches(sample_at, image_resizer=RESIZER, start_step=2, **options)
    return list(stream.take(count).as_numpy_iterator())


def test_two_shares_are_the_batch(records):
    whole = first(records, 4, batch_size=4)
    fractions = [first(records, 4, batch_size=2, rank=rank, num_shares=2) for rank in (0, 1)]
    for inputs, *parts in zip(whole, *fractions, strict=True):
        for name in ("images", "sizes"):
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), inputs[name])
        counts = np.concatenate([part["groundtruth"]["valid"].sum(axis=1) for part in parts])
        np.testing.assert_array_equal(counts, inputs["groundtruth"]["valid"].sum(axis=1))
