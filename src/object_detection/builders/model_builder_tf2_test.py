"""Check an installation, as tutorials do with the API's test of this name: every model is built, one finds objects.

python -m object_detection.builders.model_builder_tf2_test
"""

import tensorflow as tf
from absl.testing import absltest, parameterized

from boxtune.config.families import family_of, recipe, recipe_names
from boxtune.config.pipeline_pb2 import DetectionModel
from object_detection.builders import model_builder
from object_detection.core import model

_CLASSES = 2


def _stock(name: str) -> DetectionModel:
    """Return the stock `model` section of a feature extractor."""
    section = recipe(name).model
    family_of(section).set_num_classes(section, _CLASSES)
    return section


class ModelBuilderTF2Test(parameterized.TestCase):
    """Stock configurations are built by `model_builder.build`."""

    @parameterized.parameters(*recipe_names())
    def test_build(self, name: str) -> None:
        """It has weights to train, and the classes that were asked for."""
        built = model_builder.build(_stock(name), is_training=True)
        assert isinstance(built, model.DetectionModel)
        assert built.num_classes == _CLASSES
        assert built.trainable_variables

    def test_detect(self) -> None:
        """A grey image goes through all of a small model."""
        built = model_builder.build(_stock("ssd_mobilenet_v2_keras"), is_training=False)
        images, shapes = built.preprocess(tf.fill([1, 240, 320, 3], 128.0))
        found = built.postprocess(built.predict(images, shapes), shapes)
        assert found["detection_boxes"].shape == (1, 100, 4)
        assert tf.reduce_all(tf.math.is_finite(found["detection_boxes"]))


if __name__ == "__main__":
    absltest.main()
