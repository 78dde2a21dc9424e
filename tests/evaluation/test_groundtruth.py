"""Images under names of their own, and their objects in pixels."""

import numpy as np
import pytest

from boxtune.data.input import Records
from boxtune.data.label_map import Label, LabelMap, class_names
from boxtune.errors import DataError
from boxtune.evaluation.groundtruth import Names, read_groundtruth, sample_of
from image_records import record_of_image, write_records

CLASSES = LabelMap.from_names(["cat", "dog"])


def names_of(*pairs, **options):
    """Return the names of images by their filename and source_id."""
    names = Names(**options)
    return [
        names.of({"filename": np.array(filename.encode()), "source_id": source.encode()})
        for filename, source in pairs
    ]


class TestClassNames:
    def test_numbers_that_the_label_map_lacks_have_a_name_too(self):
        label_map = LabelMap((Label(1, "n01", "cat"), Label(3, "dog", "")))
        assert class_names(label_map, 4) == ["cat", "class 2", "dog", "class 4"]

    def test_each_is_there_once(self):
        label_map = LabelMap((Label(1, "a", "cat"), Label(2, "b", "cat"), Label(3, "c", "dog")))
        assert class_names(label_map, 3) == ["cat (1)", "cat (2)", "dog"]


class TestNames:
    def test_a_path_says_more_than_the_name_at_its_end(self):
        assert names_of(("1.jpg", "a/1.jpg"), ("1.jpg", "b/1.jpg")) == ["a/1.jpg", "b/1.jpg"]

    def test_a_name_says_more_than_an_id(self):
        assert names_of(("000000000139.jpg", "139"), ("1.jpg", "a/11.jpg"), ("", "7")) == [
            "000000000139.jpg", "1.jpg", "7",
        ]  # fmt: skip

    def test_without_any_it_is_the_number_of_the_record(self):
        assert names_of(("a.jpg", ""), ("", ""), ("", "")) == ["a.jpg", "record 1", "record 2"]

    def test_the_same_again_gets_that_number_too(self):
        assert names_of(("a.jpg", ""), ("a.jpg", ""), ("a.jpg", "")) == [
            "a.jpg", "a.jpg (record 1)", "a.jpg (record 2)",
        ]  # fmt: skip

    def test_the_same_again_is_refused_where_names_must_be_distinct(self):
        with pytest.raises(DataError, match=r'"a\.jpg" is the name of several images'):
            names_of(("a.jpg", ""), ("b.jpg", ""), ("a.jpg", ""), distinct=True)

    def test_bytes_that_are_no_text(self):
        assert Names().of({"filename": b"\xff.jpg", "source_id": b""}) == "\N{REPLACEMENT CHARACTER}.jpg"


class TestTruths:
    def test_objects_are_in_pixels_with_all_that_is_known_of_them(self, tmp_path):
        record = record_of_image(
            "a.jpg",
            objects=[((0.1, 0.5, 0.5, 1), 2), ((0, 0, 1, 1), 1)],
            value=90,
            is_crowd=[0, 1],
            difficult=[1, 0],
            group_of=[0, 1],
        )
        write_records(tmp_path / "a.record", [record, record_of_image("b.jpg", size=(8, 4))])
        (one, pixels), (other, _) = read_groundtruth(Records([tmp_path / "a.record"], CLASSES, 2))
        assert (one.name, one.height, one.width) == ("a.jpg", 10, 20)
        np.testing.assert_allclose(one.groundtruth_boxes, [[1, 10, 5, 20], [0, 0, 10, 20]])
        assert one.groundtruth_classes.tolist() == [1, 0]
        assert (one.is_crowd.tolist(), one.difficult.tolist()) == ([False, True], [True, False])
        assert one.group_of.tolist() == [False, True]
        assert len(one.boxes) == len(one.classes) == len(one.scores) == 0
        assert pixels.shape == (10, 20, 3)
        assert pixels[0, 0].tolist() == [90, 0, 0]
        assert (other.name, other.height, other.width, len(other.groundtruth_boxes)) == ("b.jpg", 4, 8, 0)

    def test_a_record_that_cannot_be_read_is_named(self, tmp_path):
        beyond = record_of_image("b.jpg", objects=[((0, 0, 1, 1), 3)])
        write_records(tmp_path / "a.record", [record_of_image("a.jpg"), beyond])
        with pytest.raises(DataError, match=r"a\.record: record 1 .*b\.jpg"):
            list(read_groundtruth(Records([tmp_path / "a.record"], CLASSES, 2)))


def test_of_a_batch_each_image_has_its_own_objects_only():
    samples = {
        "boxes": np.arange(24).reshape(2, 3, 4),
        "classes": np.array([[1, 0, 0], [1, 1, 0]]),
        "size": np.array([[10, 20], [30, 40]]),
        "count": np.array([1, 2]),
    }
    second = sample_of(samples, 1)
    assert second["boxes"].tolist() == [[12, 13, 14, 15], [16, 17, 18, 19]]
    assert second["classes"].tolist() == [1, 1]
    assert second["size"].tolist() == [30, 40]
