"""Anchors, tiled over feature maps."""

import abc
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from object_detection.core.box_list import BoxList
from object_detection.utils.ops import TensorError

Grids = list[tuple[Any, Any]]


class AnchorGenerator(abc.ABC):
    """Generates the anchors of each feature map, a list of boxes."""

    @abc.abstractmethod
    def name_scope(self) -> str:
        """Return the name of this kind of anchors."""

    @property
    def check_num_anchors(self) -> bool:
        """Whether the number of anchors is compared with that of `num_anchors_per_location`."""
        return True

    @abc.abstractmethod
    def num_anchors_per_location(self) -> list[int]:
        """Return the number of anchors per cell of each feature map."""

    def generate(self, feature_map_shape_list: Grids, **params: Any) -> list[BoxList]:
        """Return the anchors of feature maps, of which the rows and columns are given.

        `params` may have `im_height` and `im_width`, those of the image in pixels.

        Raises:
            TensorError: for another number of maps than this has anchors for; TensorFlow's InvalidArgumentError for
                another number of anchors.
        """
        if self.check_num_anchors and len(feature_map_shape_list) != len(self.num_anchors_per_location()):
            raise TensorError(
                "Number of feature maps is expected to equal the length of `num_anchors_per_location`."
            )
        with tf.name_scope(self.name_scope()):
            generated = self._generate(feature_map_shape_list, **params)
            if not self.check_num_anchors:
                return generated
            counts = zip(self.num_anchors_per_location(), feature_map_shape_list, strict=True)
            expected = sum(count * grid[0] * grid[1] for count, grid in counts)
            actual = sum(anchors.num_boxes() for anchors in generated)
            check = tf.debugging.assert_equal(expected, actual)
            with tf.control_dependencies([] if check is None else [check]):
                for anchors in generated:
                    anchors.set(tf.identity(anchors.get()))
            return generated

    @abc.abstractmethod
    def _generate(
        self, feature_map_shape_list: Grids, im_height: Any = 1, im_width: Any = 1
    ) -> list[BoxList]:
        """Return the anchors of feature maps over an image of a size in pixels, 1 x 1 where it is not known."""

    def anchor_index_to_feature_map_index(self, boxlist_list: Sequence[BoxList]) -> Any:
        """Return int32 [a]: the number of the feature map of each anchor."""
        counts = [anchors.num_boxes() for anchors in boxlist_list]
        return tf.repeat(tf.range(len(boxlist_list)), counts)


def checked_grids(feature_map_shape_list: Any, count: int) -> Grids:
    """Return the grids of feature maps; raise TensorError unless they are a list of `count` pairs."""
    if not isinstance(feature_map_shape_list, list) or len(feature_map_shape_list) != count:
        raise TensorError(f"feature_map_shape_list must be a list of length {count}.")
    if not all(isinstance(grid, list | tuple) and len(grid) == 2 for grid in feature_map_shape_list):
        raise TensorError("feature_map_shape_list must be a list of pairs.")
    return feature_map_shape_list


def split_by_map(anchors: Any, feature_map_shape_list: Grids, per_location: Sequence[int]) -> list[BoxList]:
    """Return the anchors [a, 4] of all feature maps as a list of boxes for each."""
    counts = [
        count * grid[0] * grid[1] for count, grid in zip(per_location, feature_map_shape_list, strict=True)
    ]
    return [BoxList(part) for part in tf.split(anchors, counts)]
