"""The functions of the scripts that write records, called by scripts of one's own."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from boxtune.errors import ConfigError, DataError
from object_detection.dataset_tools import (
    create_coco_tf_record,
    create_kitti_tf_record,
    create_pascal_tf_record,
    create_pet_tf_record,
)
from voc_folder import annotation, element, image_file


def values(example, key):
    feature = example.features.feature[key]
    return list(getattr(feature, feature.WhichOneof("kind")).value)


def boxes(example):
    return np.stack(
        [values(example, f"image/object/bbox/{side}") for side in ("ymin", "xmin", "ymax", "xmax")]
    )


# Pascal VOC


def voc_object(name, *edges, **more):
    box = dict(zip(("xmin", "ymin", "xmax", "ymax"), map(str, edges), strict=True))
    return {"name": name, "bndbox": box, **more}


def test_pascals_dict_of_an_image(tmp_path):
    image_file(tmp_path / "VOC2012" / "JPEGImages" / "a.jpg")
    data = {
        "folder": "VOC2012",
        "filename": "a.jpg",
        "size": {"height": "20", "width": "40"},
        "object": [
            voc_object("cat", 4, 2, 20, 12, difficult="1", truncated="1", pose="Left"),
            voc_object("dog", 0, 0, 40, 20),
        ],
    }
    ids = {"cat": 3, "dog": 1}
    example = create_pascal_tf_record.dict_to_tf_example(data, str(tmp_path), ids)
    assert isinstance(example, tf.train.Example)
    np.testing.assert_allclose(boxes(example), [[0.1, 0], [0.1, 0], [0.6, 1], [0.5, 1]], rtol=1e-6)
    assert values(example, "image/object/class/label") == [3, 1]
    assert values(example, "image/object/class/text") == [b"cat", b"dog"]
    assert values(example, "image/object/difficult") == [1, 0]
    assert values(example, "image/object/truncated") == [1, 0]
    assert values(example, "image/object/view") == [b"Left", b""]
    assert (values(example, "image/height"), values(example, "image/width")) == ([20], [40])
    assert values(example, "image/filename") == values(example, "image/source_id") == [b"a.jpg"]
    assert values(example, "image/encoded")[0].startswith(b"\xff\xd8")
    easy = create_pascal_tf_record.dict_to_tf_example(data, tmp_path, ids, ignore_difficult_instances=True)
    assert values(easy, "image/object/class/text") == [b"dog"]
    with pytest.raises(DataError, match="dog"):
        create_pascal_tf_record.dict_to_tf_example(data, tmp_path, {"cat": 1})


def test_an_annotation_leads_out_of_no_folder(tmp_path):
    image_file(tmp_path / "a.jpg")
    (tmp_path / "data").mkdir()
    data = {"folder": "..", "filename": "a.jpg"}
    with pytest.raises(DataError, match="is not in"):
        create_pascal_tf_record.dict_to_tf_example(data, tmp_path / "data", {}, image_subdirectory="")
    inside = create_pascal_tf_record.dict_to_tf_example(
        data | {"folder": ""}, tmp_path, {}, image_subdirectory=""
    )
    assert values(inside, "image/object/bbox/ymin") == []


# COCO


CATEGORIES = {1: {"id": 1, "name": "person"}, 18: {"id": 18, "name": "dog"}}
PERSON = {"id": 7, "category_id": 1, "bbox": [4, 2, 16, 10], "area": 90, "iscrowd": 1,
          "segmentation": [[4, 2, 20, 2, 4, 12]]}  # fmt: skip
DOG = {"id": 8, "category_id": 18, "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 0}


def coco_example(folder, *annotations, **options):
    image_file(folder / "a.jpg")
    image = {"id": 11, "file_name": "a.jpg", "width": 40, "height": 20}
    return create_coco_tf_record.create_tf_example(
        image, list(annotations), str(folder), CATEGORIES, **options
    )


def test_cocos_entries_of_an_image(tmp_path):
    key, example, *skipped = coco_example(tmp_path, PERSON, DOG, {**DOG, "bbox": [1, 1, 0, 5]})
    assert skipped == [1, 0, 0]
    assert key.encode() == values(example, "image/key/sha256")[0]
    np.testing.assert_allclose(boxes(example), [[0.1, 0], [0.1, 0], [0.6, 0.4], [0.5, 0.2]], rtol=1e-6)
    assert values(example, "image/object/class/label") == [1, 18]
    assert values(example, "image/object/is_crowd") == [1, 0]
    assert values(example, "image/object/area") == [90, 64]
    assert values(example, "image/source_id") == [b"11"]
    assert "image/object/mask" not in example.features.feature


def test_cocos_masks(tmp_path):
    _, example, *_ = coco_example(tmp_path, PERSON, include_masks=True)
    [png] = values(example, "image/object/mask")
    mask = tf.io.decode_png(png).numpy()[..., 0]
    assert (mask.shape, mask[3, 5], mask[11, 19]) == ((20, 40), 1, 0)


def test_cocos_keypoints_come_from_another_file(tmp_path):
    points = [[10, 5, 2], *[[0, 0, 0]] * 16]
    keypoints = {7: {"keypoints": [value for point in points for value in point], "num_keypoints": 1}}
    _, example, *skipped = coco_example(tmp_path, PERSON, DOG, keypoint_annotations_dict=keypoints)
    assert skipped == [0, 0, 0]
    assert values(example, "image/object/keypoint/text")[:2] == [b"nose", b"left_eye"]
    assert values(example, "image/object/keypoint/x")[0] == 0.25
    assert values(example, "image/object/keypoint/visibility")[:2] == [2, 0]
    assert len(values(example, "image/object/keypoint/x")) == 2 * 17
    assert values(example, "image/object/keypoint/num") == [1, 0]


def test_persons_only(tmp_path):
    _, example, skipped, *_ = coco_example(tmp_path, PERSON, DOG, remove_non_person_annotations=True)
    assert (values(example, "image/object/class/text"), skipped) == ([b"person"], 1)
    assert coco_example(tmp_path, DOG, remove_non_person_images=True)[1] is None
    with pytest.raises(ConfigError, match="densepose"):
        coco_example(tmp_path, PERSON, densepose_annotations_dict={7: {}})


def test_numbers_are_cut_to_the_unit():
    assert list(map(create_coco_tf_record.clip_to_unit, (-1, 0.5, 2))) == [0, 0.5, 1]


# Pets


def trimap(path):
    """Save a trimap of the animal in the right half."""
    values = np.full((20, 40), 2, np.uint8)
    values[:, 20:] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def test_pets_are_of_the_breed_in_their_names(tmp_path):
    image_file(tmp_path / "great_pug_7.jpg")
    data = {"filename": "great_pug_7.jpg", "object": [voc_object("dog", 4, 2, 20, 12)]}
    face = create_pet_tf_record.dict_to_tf_example(data, "", {"great_pug": 3}, str(tmp_path))
    assert values(face, "image/object/class/label") == [3]
    np.testing.assert_allclose(boxes(face)[:, 0], [0.1, 0.1, 0.6, 0.5], rtol=1e-6)
    whole = create_pet_tf_record.dict_to_tf_example(
        data, trimap(tmp_path / "trimap.png"), {"great_pug": 3}, tmp_path, faces_only=False
    )
    np.testing.assert_allclose(boxes(whole)[:, 0], [0, 0.5, 1, 1])
    assert len(values(whole, "image/object/mask")) == 1
    with pytest.raises(DataError, match="BREED_NUMBER"):
        create_pet_tf_record.get_class_name_from_filename("pug.jpg")
    with pytest.raises(ConfigError, match="mask_type"):
        create_pet_tf_record.dict_to_tf_example(data, "", {"great_pug": 3}, tmp_path, mask_type="numerical")


def test_records_of_pets(tmp_path, capsys):
    for name in ("pug_1", "pug_2"):
        image_file(tmp_path / "images" / f"{name}.jpg")
        annotation(tmp_path / "annotations" / "xmls" / f"{name}.xml", element("dog"))
    create_pet_tf_record.create_tf_record(
        str(tmp_path / "out.record"), 2, {"pug": 1}, tmp_path / "annotations", tmp_path / "images", ["pug_2"]
    )
    assert "1 image with 1 object" in capsys.readouterr().out
    files = sorted(tmp_path.glob("out.record-*"))
    assert [path.name for path in files] == ["out.record-00000-of-00002", "out.record-00001-of-00002"]
    [record] = tf.data.TFRecordDataset([str(path) for path in files])
    assert values(tf.train.Example.FromString(record.numpy()), "image/filename") == [b"pug_2.jpg"]


# KITTI


LABELS = """Car 0.50 0 -1.5 4 2 20 12 1 2 3 4 5 6 0.1
Pedestrian 0.00 0 -1.5 0 0 8 8 1 1 1 1 1 1 0
DontCare -1 -1 -10 0 0 3 3 -1 -1 -1 -1 -1 -1 -10
Tram 0.00 0 -1.5 30 0 40 20 1 1 1 1 1 1 0
"""


def test_kittis_labels_of_an_image(tmp_path):
    (tmp_path / "a.txt").write_text(LABELS, encoding="utf-8")
    read = create_kitti_tf_record.read_annotation_file(str(tmp_path / "a.txt"))
    assert read["type"].tolist() == ["car", "pedestrian", "dontcare", "tram"]
    assert (read["2d_bbox_top"][0], read["3d_bbox_rot_y"][0]) == (2, 0.1)
    some = create_kitti_tf_record.filter_annotations(read, ["car", "pedestrian"])
    assert some["type"].tolist() == ["car", "pedestrian"]
    # The pedestrian overlaps the region, which overlaps itself.
    apart = create_kitti_tf_record.filter_annotations(read, ["car", "pedestrian", "dontcare"])
    assert apart["type"].tolist() == ["car"]
    image_file(tmp_path / "a.png")
    example = create_kitti_tf_record.prepare_example(tmp_path / "a.png", some, {"car": 1, "pedestrian": 2})
    assert values(example, "image/object/class/label") == [1, 2]
    assert values(example, "image/object/truncated") == [1, 0]
    np.testing.assert_allclose(boxes(example)[:, 0], [0.1, 0.1, 0.6, 0.5], rtol=1e-6)


def test_what_is_not_a_file_of_kittis_labels(tmp_path):
    (tmp_path / "a.txt").write_text("Car 0 0\n" + LABELS, encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.txt is not a file of KITTI"):
        create_kitti_tf_record.read_annotation_file(tmp_path / "a.txt")
