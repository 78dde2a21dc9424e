import numpy as np
import pytest

from boxtune.detection.anchors import (
    AnchorGrid,
    FlexibleGridAnchors,
    MultiscaleAnchors,
    SsdAnchors,
    grid_anchors,
    shape,
    tile,
)


def test_shape():
    # Four times as wide as high with the area of the base times the scale squared: 1 x 4 = (2 * 1)^2.
    assert shape(2, 4.0, (1, 1)) == (1, 4)
    assert shape(1, 1.0, (2, 3)) == (2, 3)


def test_tile():
    # Two cells of 10 from 5 on, by two shapes: centres (5, 5), (5, 15), (15, 5), (15, 15).
    anchors = tile((2, 2), [(2, 2), (4, 8)], (10, 10), (5, 5))
    assert anchors.dtype == np.float32
    np.testing.assert_array_equal(
        anchors,
        [
            [4, 4, 6, 6], [3, 1, 7, 9],
            [4, 14, 6, 16], [3, 11, 7, 19],
            [14, 4, 16, 6], [13, 1, 17, 9],
            [14, 14, 16, 16], [13, 11, 17, 19],
        ],
    )  # fmt: skip


def test_tile_of_a_grid_that_is_not_square_goes_along_rows():
    anchors = tile((1, 3), [(0, 0)], (1, 1), (0, 0))
    np.testing.assert_array_equal(anchors[:, 1], [0, 1, 2])
    np.testing.assert_array_equal(anchors[:, 0], [0, 0, 0])


class TestSsdAnchors:
    def test_a_grid_of_2_x_2(self):
        # Half the image wide and high, centred on the quarters.
        generator = SsdAnchors(
            num_layers=1,
            scales=(0.5,),
            aspect_ratios=(1.0,),
            interpolated_scale_aspect_ratio=0.0,
            reduce_boxes_in_lowest_layer=False,
        )
        assert generator.per_location == [1]
        np.testing.assert_array_equal(
            generator.generate([(2, 2)], (100, 100)),
            [[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5], [0.5, 0.5, 1, 1]],
        )

    def test_the_finest_map_has_three_small_boxes(self):
        generator = SsdAnchors(num_layers=2, min_scale=0.2, max_scale=0.8)
        assert generator.per_location == [3, 6]
        finest = generator.generate([(1, 1), (1, 1)], (300, 300))[:3]
        # Sides 0.1; then of scale 0.2 twice as wide as high, and twice as high as wide.
        sides = finest[:, 2:] - finest[:, :2]
        root = np.sqrt(2)
        np.testing.assert_allclose(
            sides, [[0.1, 0.1], [0.2 / root, 0.2 * root], [0.2 * root, 0.2 / root]], rtol=1e-6
        )

    def test_each_map_has_one_anchor_between_its_scale_and_the_next(self):
        generator = SsdAnchors(
            num_layers=2, scales=(0.2, 0.45), aspect_ratios=(1.0,), reduce_boxes_in_lowest_layer=False
        )
        anchors = generator.generate([(1, 1), (1, 1)], (300, 300))
        # sqrt(0.2 * 0.45) = 0.3; after the last map comes the whole image: sqrt(0.45 * 1).
        np.testing.assert_allclose(anchors[:, 2] - anchors[:, 0], [0.2, 0.3, 0.45, np.sqrt(0.45)], rtol=1e-6)

    def test_scales_count_by_the_shorter_side(self):
        generator = SsdAnchors(
            num_layers=1,
            scales=(0.5,),
            aspect_ratios=(1.0,),
            interpolated_scale_aspect_ratio=0.0,
            reduce_boxes_in_lowest_layer=False,
        )
        # Half of 100 pixels, of an image twice as wide as high: 0.5 high and 0.25 wide.
        np.testing.assert_allclose(
            generator.generate([(1, 1)], (100, 200)), [[0.25, 0.375, 0.75, 0.625]], rtol=1e-6
        )

    def test_strides_and_offsets_are_pixels(self):
        generator = SsdAnchors(
            num_layers=1,
            scales=(0.2,),
            aspect_ratios=(1.0,),
            interpolated_scale_aspect_ratio=0.0,
            reduce_boxes_in_lowest_layer=False,
            strides=((20, 40),),
            offsets=((10, 20),),
        )
        anchors = generator.generate([(2, 2)], (100, 100))
        # Centres at 10 and 30 down, 20 and 60 across.
        np.testing.assert_allclose(
            (anchors[:, :2] + anchors[:, 2:]) / 2,
            [[0.1, 0.2], [0.1, 0.6], [0.3, 0.2], [0.3, 0.6]],
            rtol=1e-6,
        )


class TestMultiscaleAnchors:
    GENERATOR = MultiscaleAnchors(
        min_level=3, max_level=3, anchor_scale=2.0, aspect_ratios=(1.0,), scales_per_octave=2
    )

    def test_a_grid_of_2_x_2(self):
        # Stride 8, side 16 and 16 * sqrt(2), centred on 4 and 12 of 16 pixels.
        anchors = self.GENERATOR.generate([(2, 2)], (16, 16)) * 16
        assert self.GENERATOR.per_location == [2]
        np.testing.assert_allclose(
            anchors[::2], [[-4, -4, 12, 12], [-4, 4, 12, 20], [4, -4, 20, 12], [4, 4, 20, 20]], rtol=1e-6
        )
        np.testing.assert_allclose(anchors[1::2, 2] - anchors[1::2, 0], 16 * np.sqrt(2), rtol=1e-6)

    def test_a_side_that_the_stride_does_not_divide_starts_at_0(self):
        anchors = self.GENERATOR.generate([(2, 2)], (16, 15)) * np.float32([16, 15, 16, 15])
        centers = (anchors[::2, :2] + anchors[::2, 2:]) / 2
        np.testing.assert_allclose(centers, [[4, 0], [4, 8], [12, 0], [12, 8]], atol=1e-5)

    def test_pixels_where_not_normalized(self):
        generator = MultiscaleAnchors(
            min_level=3,
            max_level=3,
            anchor_scale=2.0,
            aspect_ratios=(1.0,),
            scales_per_octave=1,
            normalize_coordinates=False,
        )
        np.testing.assert_array_equal(generator.generate([(1, 1)], (8, 8)), [[-4, -4, 12, 12]])

    def test_levels_double(self):
        generator = MultiscaleAnchors(
            min_level=3, max_level=4, anchor_scale=1.0, aspect_ratios=(1.0,), scales_per_octave=1
        )
        anchors = generator.generate([(4, 4), (2, 2)], (32, 32)) * 32
        assert len(anchors) == 16 + 4
        np.testing.assert_allclose((anchors[:, 2] - anchors[:, 0]), [8] * 16 + [16] * 4)

    def test_as_many_grids_as_levels(self):
        with pytest.raises(ValueError, match="zip"):
            self.GENERATOR.generate([(2, 2), (1, 1)], (16, 16))


class TestGridAnchors:
    def test_by_hand(self):
        generator = grid_anchors((1.0, 2.0), (1.0,), (10, 20), stride=(8, 16), offset=(4, 2))
        assert generator.per_location == [2]
        # Centres (4, 2) and (4, 18); the base of 10 x 20 once and twice.
        np.testing.assert_array_equal(
            generator.generate([(1, 2)], (100, 100)),
            [[-1, -8, 9, 12], [-6, -18, 14, 22], [-1, 8, 9, 28], [-6, -2, 14, 38]],
        )

    def test_the_scales_of_a_ratio_are_adjacent(self):
        generator = grid_anchors((1.0, 2.0), (1.0, 4.0), (256, 256), stride=(16, 16))
        anchors = generator.generate([(1, 1)], (1, 1))
        sides = (anchors[:, 2:] - anchors[:, :2]) / 256
        np.testing.assert_allclose(sides, [[1, 1], [2, 2], [0.5, 2], [1, 4]])

    def test_one_map_only(self):
        generator = grid_anchors((1.0,), (1.0,), (256, 256), stride=(16, 16))
        with pytest.raises(ValueError, match="zip"):
            generator.generate([(2, 2), (1, 1)], (16, 16))


class TestFlexibleGridAnchors:
    MAPS = (
        AnchorGrid(base_sizes=(8, 16), aspect_ratios=(1.0, 4.0), stride=(10, 20), offset=(5, 10)),
        AnchorGrid(base_sizes=(32,), aspect_ratios=(1.0,), stride=(40, 40)),
    )

    def test_each_size_has_its_own_ratio(self):
        generator = FlexibleGridAnchors(maps=self.MAPS, normalize_coordinates=False)
        assert generator.per_location == [2, 1]
        np.testing.assert_array_equal(
            generator.generate([(1, 1), (1, 1)], (40, 80)),
            [[1, 6, 9, 14], [1, -6, 9, 26], [-16, -16, 16, 16]],
        )

    def test_normalized(self):
        normalized = FlexibleGridAnchors(maps=self.MAPS).generate([(1, 1), (1, 1)], (40, 80))
        np.testing.assert_allclose(normalized[0], [1 / 40, 6 / 80, 9 / 40, 14 / 80], rtol=1e-6)
