"""The API's scripts that write TFRecords, called as their users call them."""

import csv
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import object_detection
from boxtune.data import tfrecord
from boxtune.data.label_map import Label, LabelMap, read_label_map, write_label_map
from object_detection.dataset_tools import tf_record_creation_util
from voc_folder import annotated, annotation, element, image_file

SCRIPTS = Path(object_detection.__file__).parent / "dataset_tools"


def run(name, *flags):
    """Run a script; return what it printed. A lone "--" is how the API's documentation has it."""
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), "--", *map(str, flags)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def refused(name, *flags):
    """Run a script that is to refuse its work in one line; return that."""
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, flags)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 2, finished
    assert finished.stderr.count("\n") == 1, finished.stderr
    return finished.stderr


def examples(*paths):
    """Return the features of all records of some files, by the images' names."""
    found = {}
    for path in filter(lambda path: path.stat().st_size, paths):
        with tfrecord.RecordIndex([path]) as index:
            for number in range(len(index)):
                features = tfrecord.parse_example(index.read(number)).features.feature
                found[features["image/filename"].bytes_list.value[0].decode()] = features
    return found


def classes(features):
    return [text.decode() for text in features["image/object/class/text"].bytes_list.value]


def ids(features):
    return list(features["image/object/class/label"].int64_list.value)


def boxes(features):
    """Return [n, 4], ymin, xmin, ymax, xmax."""
    sides = ("ymin", "xmin", "ymax", "xmax")
    return np.stack([features[f"image/object/bbox/{side}"].float_list.value for side in sides], axis=1)


def label_map(folder, *labels):
    write_label_map(LabelMap(tuple(labels)), folder / "map.pbtxt")
    return folder / "map.pbtxt"


# Pascal VOC


@pytest.fixture
def pascal(tmp_path):
    """A folder VOC2007 with a cat in each of four images and a difficult dog in two; return the first flags."""
    folder = tmp_path / "VOC2007" / "Annotations"
    for name in "abcd":
        dog = element("dog", 0, 0, 10, 10, more="<difficult>1</difficult>")
        annotated(folder, name, element(), *[dog] * (name in "ab"))
    path = label_map(tmp_path, Label(1, "cat"), Label(2, "dog"))
    return [f"--label_map_path={path}", "--output_path", tmp_path / "out" / "train.record"]


def test_pascal_follows_a_list_of_images(pascal, tmp_path):
    lists = tmp_path / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "cat_val.txt").write_text("a 1\nc -1\n")
    run("create_pascal_tf_record", *pascal, f"--data_dir={tmp_path}", "--set=val")
    found = examples(pascal[-1])
    assert {name: classes(features) for name, features in found.items()} == {
        "a.jpg": ["cat", "dog"],
        "c.jpg": ["cat"],
    }


def test_pascal_needs_neither_year_nor_lists(pascal, tmp_path):
    flags = [f"--data_dir={tmp_path / 'VOC2007'}", "--ignore_difficult_instances"]
    also = run("create_pascal_tf_record", *pascal, *flags)
    assert "no list of images train.txt" in also
    assert "2 objects left out" in also
    assert {name: ids(features) for name, features in examples(pascal[-1]).items()} == {
        f"{name}.jpg": [1] for name in "abcd"
    }


def test_what_the_user_can_mend_is_reported_in_a_line(pascal, tmp_path):
    also = refused("create_pascal_tf_record", *pascal, f"--data_dir={tmp_path / 'absent'}")
    assert "absent is not a folder" in also


# COCO


@pytest.fixture
def coco(tmp_path):
    """Two images for training, one for validation; a person with a mask, and a dog; return the flags of both."""
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    triangle = [[4, 2, 20, 2, 4, 12]]
    person = {"id": 7, "image_id": 1, "category_id": 1, "bbox": [4, 2, 16, 10], "segmentation": triangle}
    dog = {
        "id": 8,
        "image_id": 2,
        "category_id": 18,
        "bbox": [0, 0, 8, 8],
        "segmentation": [[0, 0, 8, 0, 8, 8]],
    }
    for annotation_ in (person, dog):
        annotation_ |= {"area": 80.0, "iscrowd": 0}
    flags = []
    for part, names, annotations in (("train", "ab", [person, dog]), ("val", "c", [person])):
        images = [
            {"id": number, "file_name": f"{name}.jpg", "width": 40, "height": 20}
            for number, name in enumerate(names, start=1)
        ]
        for name in names:
            image_file(tmp_path / part / f"{name}.jpg")
        content = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / f"{part}.json").write_text(json.dumps(content))
        flags += [
            f"--{part}_image_dir={tmp_path / part}",
            f"--{part}_annotations_file={tmp_path / part}.json",
        ]
    return [*flags, f"--output_dir={tmp_path / 'out'}"]


def test_coco_writes_the_shards_of_the_api(coco, tmp_path):
    run("create_coco_tf_record", *coco)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *(f"coco_train.record-{shard:05d}-of-00100" for shard in range(100)),
        *(f"coco_val.record-{shard:05d}-of-00050" for shard in range(50)),
        "label_map.pbtxt",
    }
    train = examples(*sorted((tmp_path / "out").glob("coco_train*")))
    assert {name: ids(features) for name, features in train.items()} == {"a.jpg": [1], "b.jpg": [18]}
    # x 4, y 2, width 16, height 10 of 40 x 20 pixels
    np.testing.assert_allclose(boxes(train["a.jpg"]), [[0.1, 0.1, 0.6, 0.5]], rtol=1e-6)
    assert list(train["a.jpg"]["image/object/area"].float_list.value) == [80.0]
    assert "image/object/mask" not in train["a.jpg"]
    assert list(examples(*(tmp_path / "out").glob("coco_val*"))) == ["c.jpg"]
    assert read_label_map(tmp_path / "out" / "label_map.pbtxt").labels == (
        Label(1, "person"),
        Label(18, "dog"),
    )


def test_coco_with_masks_and_persons_only(coco, tmp_path):
    also = run("create_coco_tf_record", *coco[:2], coco[-1], "--include_masks", "--remove_non_person_images")
    assert "1 image left out" in also
    train = examples(*(tmp_path / "out").glob("coco_train*"))
    assert list(train) == ["a.jpg"]
    [png] = train["a.jpg"]["image/object/mask"].bytes_list.value
    mask = tf.io.decode_png(png).numpy()[..., 0]
    assert mask.shape == (20, 40)
    assert (mask[3, 5], mask[11, 19], mask[15, 5]) == (
        1,
        0,
        0,
    )  # within the triangle, within the box, outside


def test_coco_without_the_objects_that_are_no_persons(coco, tmp_path):
    also = run("create_coco_tf_record", *coco[:2], coco[-1], "--remove_non_person_annotations")
    assert "1 object left out" in also
    train = examples(*(tmp_path / "out").glob("coco_train*"))
    assert {name: classes(features) for name, features in train.items()} == {"a.jpg": ["person"], "b.jpg": []}


def test_coco_takes_keypoints_from_a_second_file(coco, tmp_path):
    content = json.loads((tmp_path / "train.json").read_text())
    content["categories"] = [{"id": 1, "name": "person", "keypoints": ["nose", "knee"]}]
    content["annotations"] = [
        content["annotations"][0] | {"keypoints": [10, 5, 2, 0, 0, 0], "num_keypoints": 1}
    ]
    (tmp_path / "points.json").write_text(json.dumps(content))
    flag = f"--train_keypoint_annotations_file={tmp_path / 'points.json'}"
    run("create_coco_tf_record", *coco[:2], coco[-1], flag)
    train = examples(*(tmp_path / "out").glob("coco_train*"))["a.jpg"]
    assert list(train["image/object/keypoint/text"].bytes_list.value) == [b"nose", b"knee"]
    assert list(train["image/object/keypoint/visibility"].int64_list.value) == [2, 0]
    assert train["image/object/keypoint/x"].float_list.value[0] == 0.25  # 10 of 40


def test_coco_numbers_by_name_where_a_category_has_the_number_zero(coco, tmp_path):
    content = json.loads((tmp_path / "train.json").read_text())
    content["categories"][0]["id"] = content["annotations"][0]["category_id"] = 0
    (tmp_path / "train.json").write_text(json.dumps(content))
    also = run("create_coco_tf_record", *coco[:2], coco[-1])
    assert "numbered by name" in also
    assert read_label_map(tmp_path / "out" / "label_map.pbtxt").names == ["dog", "person"]


def test_coco_refuses_by_name(coco):
    assert "--train_densepose_annotations_file" in refused(
        "create_coco_tf_record", *coco, "--train_densepose_annotations_file=x.json"
    )
    assert "Give both --val_image_dir and --val_annotations_file" in refused(
        "create_coco_tf_record", *coco[:3], coco[-1]
    )
    assert "Give both --train_image_dir" in refused("create_coco_tf_record", coco[-1])


# Oxford pets


@pytest.fixture
def pets(tmp_path):
    """Ten pugs and Bombays with the box of the face and a trimap, in which the animal fills the right half."""
    annotations = tmp_path / "annotations"
    trimap = np.full((20, 40), 2, np.uint8)
    trimap[5:15, 20:38] = 1
    trimap[5:15, 38:40] = 3
    (annotations / "trimaps").mkdir(parents=True)
    names = [f"{breed}_{number}" for breed in ("pug", "Bombay") for number in range(5)]
    for name in names:
        image_file(tmp_path / "images" / f"{name}.jpg")
        annotation(annotations / "xmls" / f"{name}.xml", element("dog", 24, 6, 32, 10))
        Image.fromarray(trimap).save(annotations / "trimaps" / f"{name}.png")
    (annotations / "trainval.txt").write_text("".join(f"{name} 1 1 1\n" for name in names))
    path = label_map(tmp_path, Label(1, "pug"), Label(2, "Bombay"))
    return [f"--data_dir={tmp_path}", f"--output_dir={tmp_path / 'out'}", f"--label_map_path={path}"]


def test_pets_are_divided_as_in_the_api(pets, tmp_path):
    run("create_pet_tf_record", *pets)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        f"pet_faces_{part}.record-{shard:05d}-of-00010" for part in ("train", "val") for shard in range(10)
    ]
    train, validation = examples(*out.glob("*train*")), examples(*out.glob("*val*"))
    assert len(train) == 7
    # random.seed(42); random.shuffle(list(range(10))) gives 7 3 2 8 5 6 9 4 0 1, and Bombay_0 is number 5.
    assert set(validation) == {"pug_4.jpg", "pug_0.jpg", "pug_1.jpg"}
    assert ids(train["Bombay_0.jpg"]) == [2]
    np.testing.assert_allclose(boxes(train["Bombay_0.jpg"]), [[0.3, 0.6, 0.5, 0.8]], rtol=1e-6)


def test_whole_pets_have_the_box_and_the_mask_of_the_trimap(pets, tmp_path):
    (tmp_path / "annotations" / "trimaps" / "pug_2.png").unlink()
    also = run("create_pet_tf_record", *pets, "--nofaces_only", "--num_shards=1")
    assert "pug_2.jpg is left out" in also
    train = examples(tmp_path / "out" / "pets_fullbody_with_masks_train.record-00000-of-00001")
    assert len(train) == 6
    features = train["Bombay_0.jpg"]
    # rows 5 to 14 of 20, columns 20 to 39 of 40
    np.testing.assert_allclose(boxes(features), [[0.25, 0.5, 0.75, 1]], rtol=1e-6)
    [png] = features["image/object/mask"].bytes_list.value
    mask = tf.io.decode_png(png).numpy()[..., 0]
    assert (mask.sum(), mask[5, 20], mask[5, 39], mask[4, 20]) == (200, 1, 1, 0)


def test_pets_refuse_by_name(pets):
    assert "--mask_type=numerical" in refused("create_pet_tf_record", *pets, "--mask_type=numerical")


# KITTI


@pytest.fixture
def kitti(tmp_path):
    """Three images: a car; a pedestrian half in a region to ignore and a tram; a car beside one."""

    def line(name, *edges):
        return f"{name} 0.00 0 -1.5 {' '.join(map(str, edges))} 1 1 1 1 1 1 0"

    lines = {
        "000000": [line("Car", 4, 2, 20, 12)],
        "000001": [
            line("Pedestrian", 0, 0, 8, 8),
            line("DontCare", 4, 4, 40, 20),
            line("Tram", 0, 10, 3, 20),
        ],
        "000002": [line("Car", 0, 0, 10, 20), line("DontCare", 10, 0, 40, 20)],
    }
    labels = tmp_path / "training" / "label_2"
    labels.mkdir(parents=True)
    for name, text in lines.items():
        (labels / f"{name}.txt").write_text("\n".join(text))
        image_file(tmp_path / "data_object_image_2" / "training" / "image_2" / f"{name}.png")
    path = label_map(tmp_path, Label(1, "car"), Label(2, "pedestrian"))
    return [
        f"--data_dir={tmp_path}",
        f"--output_path={tmp_path / 'out' / 'kitti'}",
        f"--label_map_path={path}",
    ]


def test_kitti_divides_by_number_and_leaves_out_what_overlaps_a_region(kitti, tmp_path):
    also = run("create_kitti_tf_record", *kitti, "--validation_set_size=1")
    assert "1 object left out" in also  # the tram
    validation = examples(tmp_path / "out" / "kitti_val.tfrecord")
    assert {name: ids(features) for name, features in validation.items()} == {"000000.png": [1]}
    np.testing.assert_allclose(boxes(validation["000000.png"]), [[0.1, 0.1, 0.6, 0.5]], rtol=1e-6)
    train = examples(tmp_path / "out" / "kitti_train.tfrecord")
    assert {name: classes(features) for name, features in train.items()} == {
        "000001.png": [],
        "000002.png": ["car"],  # it touches the region and does not overlap it
    }


def test_kitti_with_the_objects_in_regions_and_the_folders_of_the_archives(kitti, tmp_path):
    (tmp_path / "data_object_image_2" / "training" / "image_2").rename(tmp_path / "training" / "image_2")
    run("create_kitti_tf_record", *kitti, "--validation_set_size=0", "--classes_to_use=pedestrian")
    train = examples(tmp_path / "out" / "kitti_train.tfrecord")
    assert [classes(train[f"00000{number}.png"]) for number in range(3)] == [[], ["pedestrian"], []]
    assert examples(tmp_path / "out" / "kitti_val.tfrecord") == {}


def test_kitti_refuses_what_leaves_nothing_for_training(kitti):
    assert "--validation_set_size=500" in refused("create_kitti_tf_record", *kitti)


# Open Images


@pytest.fixture
def open_images(tmp_path):
    """Three images, of which two have rows; a row about an image that is not there."""
    for name in ("00a1", "00a2", "00a3"):
        image_file(tmp_path / "images" / f"{name}.jpg")
    with (tmp_path / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsTruncated", "IsGroupOf"],
                ["00a1", "/m/cat", 0.1, 0.5, 0.2, 0.6, 0, 1],
                ["00a1", "/m/other", 0, 1, 0, 1, 0, 0],
                ["00a2", "/m/dog", 0, 0.5, 0, 0.5, 1, 0],
            ]
        )
    return [
        f"--input_box_annotations_csv={tmp_path / 'boxes.csv'}",
        f"--input_images_directory={tmp_path / 'images'}",
        f"--input_label_map={label_map(tmp_path, Label(1, '/m/cat', 'Cat'), Label(2, '/m/dog', 'Dog'))}",
        f"--output_tf_record_path_prefix={tmp_path / 'out' / 'oid.tfrecord'}",
        "--num_shards=2",
    ]


def test_open_images_of_the_classes_of_the_label_map(open_images, tmp_path):
    also = run("create_oid_tf_record", *open_images)
    assert "1 object left out" in also
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "oid.tfrecord-00000-of-00002",
        "oid.tfrecord-00001-of-00002",
    }
    found = examples(*out.iterdir())
    assert {name: ids(features) for name, features in found.items()} == {"00a1.jpg": [1], "00a2.jpg": [2]}
    np.testing.assert_allclose(boxes(found["00a1.jpg"]), [[0.2, 0.1, 0.6, 0.5]], rtol=1e-6)
    assert list(found["00a1.jpg"]["image/object/group_of"].int64_list.value) == [1]


def test_open_images_refuse_by_name(open_images):
    flag = "--input_image_label_annotations_csv"
    assert flag in refused("create_oid_tf_record", *open_images, f"{flag}=labels.csv")


def test_sharded_writers(tmp_path):
    with ExitStack() as stack:
        writers = tf_record_creation_util.open_sharded_output_tfrecords(
            stack, str(tmp_path / "train.record"), 2
        )
        for number, writer in enumerate(writers):
            writer.write(b"%d" % number)
    names = ["train.record-00000-of-00002", "train.record-00001-of-00002"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [
        record.numpy() for record in tf.data.TFRecordDataset([str(tmp_path / name) for name in names])
    ] == [b"0", b"1"]
