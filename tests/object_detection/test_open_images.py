"""Open Images: tables, masks in them, hierarchies of classes, visual relations; records of tables and of videos."""

import base64
import csv
import io
import json
import subprocess
import sys
import zlib
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags

from boxtune import run_lengths
from boxtune.errors import DataError
from object_detection.dataset_tools import (
    oid_hierarchical_labels_expansion,
    oid_tfrecord_creation,
    seq_example_util,
)
from object_detection.dataset_tools.oid_hierarchical_labels_expansion import OIDHierarchicalLabelsExpansion
from object_detection.metrics import (
    io_utils,
    offline_eval_map_corloc,
    oid_challenge_evaluation,
    oid_challenge_evaluation_utils,
    oid_vrd_challenge_evaluation,
    oid_vrd_challenge_evaluation_utils,
)
from object_detection.protos import eval_pb2, input_reader_pb2
from object_detection.utils import dataset_util, vrd_evaluation
from object_detection.utils.per_image_vrd_evaluation import PerImageVRDEvaluation

NAN = float("nan")
CLASSES = {"/m/ant": 1, "/m/bee": 2, "/m/cow": 3}


def table(names, *rows):
    return dict(zip(names.split(), map(list, zip(*rows, strict=True)), strict=True))


def encoded(mask):
    runs = run_lengths.compress(run_lengths.of_array(np.array(mask, np.uint8)))
    return base64.b64encode(zlib.compress(runs)).decode()


# Tables

RIGHT_HALF, NOTHING = [[0, 0, 1, 1], [0, 0, 1, 1]], [[0, 0, 0, 0], [0, 0, 0, 0]]


def test_groundtruth_of_a_table():
    data = table(
        "LabelName XMin XMax YMin YMax IsGroupOf ConfidenceImageLabel",
        ("/m/ant", 0.0, 0.3, 0.5, 0.6, 0, None),
        ("/m/cow", 0.1, 0.2, 0.3, 0.4, 1, NAN),
        ("/m/ant", NAN, NAN, NAN, NAN, NAN, 1),
        ("/m/bee", None, None, None, None, None, 0),
    )
    arrays = oid_challenge_evaluation_utils.build_groundtruth_dictionary(data, CLASSES)
    np.testing.assert_array_equal(arrays["groundtruth_boxes"], [[0.5, 0, 0.6, 0.3], [0.3, 0.1, 0.4, 0.2]])
    assert arrays["groundtruth_classes"].tolist() == [1, 3]
    assert arrays["groundtruth_group_of"].tolist() == [0, 1]
    assert arrays["groundtruth_image_classes"].tolist() == [1, 2]
    assert "groundtruth_instance_masks" not in arrays
    with pytest.raises(KeyError, match=r'no class "/m/cow".*LabelName'):
        oid_challenge_evaluation_utils.build_groundtruth_dictionary(data, {"/m/ant": 1, "/m/bee": 2})


def test_masks_of_a_table():
    data = table(
        "LabelName ImageWidth ImageHeight XMin XMax YMin YMax IsGroupOf ConfidenceImageLabel Mask",
        ("/m/ant", 4.0, 2.0, 0.5, 1.0, 0.0, 1.0, 0, None, encoded(RIGHT_HALF)),
        ("/m/bee", NAN, NAN, 0.0, 1.0, 0.0, 1.0, 1, None, NAN),
        ("/m/ant", NAN, NAN, NAN, NAN, NAN, NAN, NAN, 1, NAN),
    )
    arrays = oid_challenge_evaluation_utils.build_groundtruth_dictionary(data, CLASSES)
    assert arrays["groundtruth_instance_masks"].tolist() == [RIGHT_HALF, NOTHING]
    found = table(
        "LabelName ImageWidth ImageHeight Score Mask",
        ("/m/ant", 4, 2, 0.5, encoded(RIGHT_HALF)),
        ("/m/bee", 4, 2, 0.25, encoded(NOTHING)),
    )
    arrays = oid_challenge_evaluation_utils.build_predictions_dictionary(found, CLASSES)
    assert arrays["detection_masks"].tolist() == [RIGHT_HALF, NOTHING]
    assert arrays["detection_boxes"].tolist() == [[0, 0.5, 1, 1], [0, 0, 0, 0]]
    assert arrays["detection_scores"].tolist() == [0.5, 0.25]
    assert arrays["detection_classes"].tolist() == [1, 2]


def test_boxes_that_were_found():
    data = table("LabelName XMin XMax YMin YMax Score", ("/m/bee", 0.0, 0.3, 0.5, 0.6, 0.1))
    arrays = oid_challenge_evaluation_utils.build_predictions_dictionary(data, CLASSES)
    assert arrays["detection_boxes"].tolist() == [[0.5, 0, 0.6, 0.3]]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("no base 64", (4, 2)),
        (base64.b64encode(b"not packed").decode(), (4, 2)),
        (base64.b64encode(zlib.compress(b"0" * 10_000_000)).decode(), (4, 2)),  # more runs than pixels
        (encoded(RIGHT_HALF), (5, 2)),
        (encoded(RIGHT_HALF), (1_000_000, 1_000_000)),
    ],
)
def test_texts_that_are_no_masks(text, size):
    with pytest.raises(DataError, match="mask"):
        oid_challenge_evaluation_utils._decode_raw_data_into_masks_and_boxes([text], [size[0]], [size[1]])


def test_relations_of_a_table():
    sides = "XMin1 XMax1 YMin1 YMax1 XMin2 XMax2 YMin2 YMax2"
    numbers = (0.0, 0.3, 0.5, 0.6, 0.1, 0.2, 0.3, 0.4)
    data = table(
        f"LabelName LabelName1 LabelName2 RelationshipLabel {sides}",
        (None, "/m/ant", "/m/bee", "on", *numbers),
        ("/m/cow", None, None, None, *[NAN] * 8),
    )
    arrays = oid_vrd_challenge_evaluation_utils.build_groundtruth_vrd_dictionary(data, CLASSES, {"on": 7})
    assert arrays["groundtruth_classes"].tolist() == [(1, 2, 7)]
    np.testing.assert_allclose(arrays["groundtruth_boxes"]["subject"], [[0.5, 0.0, 0.6, 0.3]])
    np.testing.assert_allclose(arrays["groundtruth_boxes"]["object"], [[0.3, 0.1, 0.4, 0.2]])
    assert arrays["groundtruth_image_classes"].tolist() == [3]
    found = {name: values[:1] for name, values in data.items() if name != "LabelName"} | {"Score": [0.5]}
    arrays = oid_vrd_challenge_evaluation_utils.build_predictions_vrd_dictionary(found, CLASSES, {"on": 7})
    assert arrays["detection_classes"].dtype == vrd_evaluation.label_data_type
    assert arrays["detection_scores"].tolist() == [0.5]
    with pytest.raises(KeyError, match="RelationshipLabel"):
        oid_vrd_challenge_evaluation_utils.build_predictions_vrd_dictionary(found, CLASSES, {"under": 7})


# Hierarchies

HIERARCHY = {
    "LabelName": "entity",
    "Subcategory": [
        {"LabelName": "b"},
        {"LabelName": "c", "Subcategory": [
            {"LabelName": "d"},
            {"LabelName": "f", "Subcategory": [{"LabelName": "d"}]},
        ]},
        {"LabelName": "g", "Subcategory": [{"LabelName": "d"}]},
    ],
}  # fmt: skip


def test_rows_of_classes_above_and_below():
    expansion = OIDHierarchicalLabelsExpansion(HIERARCHY)
    rows = expansion.expand_boxes_or_segments_from_csv("1,x,d,1,0.5", 2)
    assert rows == [f"1,x,{name},1,0.5" for name in ("d", "c", "f", "g")]
    assert expansion.expand_boxes_or_segments_from_csv("1,b,1") == ["1,b,1"]
    assert expansion.expand_labels_from_csv("1,x,f,1", 2, 3) == ["1,x,f,1", "1,x,c,1"]
    assert expansion.expand_labels_from_csv("1,f,0") == ["1,f,0", "1,d,0"]
    for name in ("entity", "h"):
        with pytest.raises(AssertionError, match=name):
            expansion.expand_boxes_or_segments_from_csv(f"1,{name},1")


# Relations

A, B, AWAY = [0, 0, 10, 10], [10, 10, 20, 20], [50, 50, 60, 60]


def relations(*rows):
    """Boxes and classes (subject, object, relation)."""
    boxes = np.array([(row[0], row[1]) for row in rows], vrd_evaluation.vrd_box_data_type)
    return boxes, np.array([row[2] for row in rows], vrd_evaluation.label_data_type)


def test_relations_of_an_image():
    true = relations((A, B, (1, 2, 3)), (A, B, (1, 2, 4)))
    found = relations(
        (A, B, (1, 2, 3)), (A, B, (1, 2, 3)), (A, AWAY, (1, 2, 4)), (A, B, (1, 2, 4)), (A, B, (2, 1, 3))
    )
    evaluation = PerImageVRDEvaluation(0.5)
    scores, right, given = evaluation.compute_detection_tp_fp(
        found[0], np.array([0.5, 0.9, 0.8, 0.1, 0.3]), found[1], *true
    )
    assert scores.tolist() == [0.9, 0.8, 0.5, 0.3, 0.1]
    assert right.tolist() == [True, False, False, False, True]
    assert given.tolist() == [1, 2, 0, 4, 3]
    assert evaluation._compute_tp_fp_for_single_class(found[0][:2], true[0][:0]).tolist() == [False, False]
    nothing = relations()
    assert [
        len(part) for part in evaluation.compute_detection_tp_fp(nothing[0], np.zeros(0), nothing[1], *true)
    ] == [0] * 3


def with_relations(evaluator):
    boxes, classes = relations((A, B, (1, 2, 3)))
    true = {
        "groundtruth_boxes": boxes,
        "groundtruth_classes": classes,
        "groundtruth_image_classes": np.array([2, 4]),
    }
    evaluator.add_single_ground_truth_image_info("a", true)
    # The first counts as wrong: 4 is not there. Of 5 nobody knows. The boxes of the third are exchanged.
    boxes, classes = relations((A, B, (4, 5, 3)), (A, B, (1, 5, 3)), (B, A, (1, 2, 3)))
    found = {
        "detection_boxes": boxes,
        "detection_classes": classes,
        "detection_scores": np.array([0.9, 0.8, 0.7]),
    }
    evaluator.add_single_detected_image_info("a", found)
    evaluator.add_single_detected_image_info("b", found)
    return evaluator, true


def test_numbers_of_relations():
    evaluator, true = with_relations(vrd_evaluation.VRDPhraseDetectionEvaluator())
    assert [len(part) for part in evaluator._evaluation._scores] == [2, 0]
    assert evaluator._evaluation._num_gt_instances == evaluator._evaluation._num_gt_imgs == 1
    numbers = evaluator.evaluate({3: "on"})
    prefix = "VRDMetric_Phrases_"
    assert numbers == {
        f"{prefix}weightedAP@0.5IOU": 0.5, f"{prefix}mAP@0.5IOU": 0.5, f"{prefix}Recall@50@0.5IOU": 1,
        f"{prefix}Recall@100@0.5IOU": 1, f"{prefix}AP@0.5IOU/on": 0.5,
    }  # fmt: skip
    assert evaluator._evaluation.evaluate().median_rank_50 == 1
    with pytest.raises(ValueError, match="id a "):
        evaluator.add_single_ground_truth_image_info("a", true)
    evaluator, _ = with_relations(vrd_evaluation.VRDRelationDetectionEvaluator())
    assert evaluator.evaluate()["VRDMetric_Relationships_AP@0.5IOU/3"] == 0
    evaluator.clear()
    assert not evaluator._image_ids
    assert np.isnan(evaluator.evaluate()["VRDMetric_Relationships_mAP@0.5IOU"])


# Records


def test_a_record_of_a_table():
    data = table(
        "ImageID LabelName XMin XMax YMin YMax IsGroupOf ConfidenceImageLabel",
        ("i1", "/m/bee", 0.25, 0.5, 0.75, 1.0, 1, NAN),
        ("i1", "/m/dog", 0.25, 0.5, 0.75, 1.0, 0, NAN),
        ("i1", "/m/cow", NAN, NAN, NAN, NAN, NAN, 1),
    )
    record = oid_tfrecord_creation.tf_example_from_annotations_data_frame(data, CLASSES, b"file")
    features = {}
    for key, feature in record.features.feature.items():
        features[key.removeprefix("image/")] = list(getattr(feature, feature.WhichOneof("kind")).value)
    assert features == {
        "filename": [b"i1.jpg"], "source_id": [b"i1"], "encoded": [b"file"],
        "object/bbox/xmin": [0.25], "object/bbox/xmax": [0.5], "object/bbox/ymin": [0.75], "object/bbox/ymax": [1.0],
        "object/class/text": [b"/m/bee"], "object/class/label": [2], "object/group_of": [1],
        "class/text": [b"/m/cow"], "class/label": [3],
    }  # fmt: skip


def values(feature_list):
    kinds = [feature.WhichOneof("kind") for feature in feature_list.feature]
    return [
        list(getattr(one, kind).value) if kind else []
        for one, kind in zip(feature_list.feature, kinds, strict=True)
    ]


def test_a_record_of_a_video():
    record = seq_example_util.make_sequence_example(
        b"set", "clip", [b"one", b"two"], 20, 30, "JPEG",
        bboxes=[[[0.0, 0.25, 0.5, 0.75], [0.0, 0.0, 1.0, 1.0]], []], label_strings=[["ant", b"bee"], []],
        detection_bboxes=[np.zeros((0, 4)), np.ones((1, 4))], detection_classes=[[], [7]], detection_scores=[[], [0.5]],
        context_features=[0.5, 0.25], context_feature_length=[1], context_features_image_id_list=["a", "b"],
    )  # fmt: skip
    context = record.context.feature
    assert context["example/dataset_name"].bytes_list.value == [b"set"]
    assert context["clip/media_id"].bytes_list.value == [b"clip"]
    assert [
        context[f"clip/{name}"].int64_list.value[0] for name in ("start/timestamp", "end/timestamp", "frames")
    ] == [0, 1, 2]
    assert context["image/context_features"].float_list.value == [0.5, 0.25]
    frames = {name: values(part) for name, part in record.feature_lists.feature_list.items()}
    assert frames["image/encoded"] == [[b"one"], [b"two"]]
    assert frames["image/source_id"] == [[b"0"], [b"1"]]
    assert frames["image/timestamp"] == [[0], [1]]
    assert frames["region/bbox/xmin"] == [[0.25, 0], []]
    assert frames["region/is_annotated"] == [[1], [1]]
    assert frames["region/label/string"] == [[b"ant", b"bee"], []]
    assert frames["predicted/region/bbox/ymax"] == [[], [1]]
    assert frames["predicted/region/label/index"] == [[], [7]]
    assert frames["predicted/region/label/confidence"] == [[], [0.5]]


def test_a_record_of_a_video_without_anything():
    record = seq_example_util.make_sequence_example(
        "set", "clip", [b"one"], 20, 30, image_source_ids=["x"], timestamps=np.array([40])
    )
    assert sorted(record.feature_lists.feature_list) == [
        "image/encoded",
        "image/source_id",
        "image/timestamp",
    ]
    assert values(record.feature_lists.feature_list["image/source_id"]) == [[b"x"]]
    assert record.context.feature["clip/end/timestamp"].int64_list.value == [40]


# Records with detections


def test_numbers_as_a_table():
    file = io.StringIO()
    io_utils.write_csv(file, {"a,b": 0.5, "c": 1})
    assert file.getvalue() == '"a,b",0.5\r\nc,1\r\n'


def test_names_of_parts():
    names = ["a", "b-00000-of-00050", "c/@2.record", "d@1"]
    assert offline_eval_map_corloc._generate_filenames(names) == [
        "a", "b-00000-of-00050", "c/-00000-of-00002.record", "c/-00001-of-00002.record", "d-00000-of-00001",
    ]  # fmt: skip


def record(name, *, found):
    sides = dict(zip(("ymin", "xmin", "ymax", "xmax"), (0.0, 0.0, 0.5, 0.5), strict=True))
    features = {
        f"image/object/bbox/{side}": dataset_util.float_feature(value) for side, value in sides.items()
    }
    features |= {
        "image/source_id": dataset_util.bytes_feature(name),
        "image/object/class/label": dataset_util.int64_feature(1),
    }
    if found:
        features |= {
            f"image/detection/bbox/{side}": dataset_util.float_feature(value) for side, value in sides.items()
        }
        features["image/detection/label"] = dataset_util.int64_feature(1)
        features["image/detection/score"] = dataset_util.float_feature(0.5)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def test_records_with_detections(tmp_path):
    (tmp_path / "map.pbtxt").write_text('item { id: 1 name: "ant" }')
    with tf.io.TFRecordWriter(str(tmp_path / "r-00000-of-00001")) as writer:
        writer.write(record(b"a", found=True))
        writer.write(record(b"b", found=False))
    reader = input_reader_pb2.InputReader(label_map_path=str(tmp_path / "map.pbtxt"))
    asked = eval_pb2.EvalConfig(metrics_set=["oid_challenge_detection_metrics"])
    with pytest.raises(ValueError, match="tf_record_input_reader"):
        offline_eval_map_corloc.read_data_and_evaluate(reader, asked)
    reader.tf_record_input_reader.input_path.append(str(tmp_path / "r@1"))
    numbers = offline_eval_map_corloc.read_data_and_evaluate(reader, asked)
    assert numbers["OpenImagesDetectionChallenge_Precision/mAP@0.5IOU"] == 1
    offline_eval_map_corloc.write_metrics(numbers, str(tmp_path / "out"))
    assert (
        (tmp_path / "out" / "metrics.csv")
        .read_text()
        .startswith("OpenImagesDetectionChallenge_Precision/mAP")
    )


# Scripts


def write_csv(path, text):
    path.write_text("\n".join(line.replace(" ", ",") for line in text.strip().splitlines()) + "\n")
    return str(path)


def label_map(path, *names):
    path.write_text(
        "".join(f'item {{ id: {number} name: "{name}" }}\n' for number, name in enumerate(names, 1))
    )
    return str(path)


def measured(path):
    return {name: float(value) for name, value in csv.reader(path.read_text().splitlines())}


def run_script(module, tmp_path, **flags):
    values = absl_flags.FlagValues()
    for name, value in flags.items():
        absl_flags.DEFINE_string(name, value, "", flag_values=values)
    values(["script"])
    with mock.patch.object(module, "FLAGS", values):
        module._evaluate()
    return measured(tmp_path / "metrics.csv")


def challenge(tmp_path, **more):
    return run_script(
        oid_challenge_evaluation,
        tmp_path,
        input_annotations_boxes=write_csv(tmp_path / "boxes.csv", """
ImageID LabelName XMin XMax YMin YMax IsGroupOf Source
a ant 0.5 1 0 1 0 x
a bee 0 0.5 0 1 1 x"""),
        input_annotations_labels=write_csv(tmp_path / "labels.csv", """
ImageID LabelName Confidence
a cow 0
b ant 1"""),
        input_class_labelmap=label_map(tmp_path / "map.pbtxt", "ant", "bee", "cow", "dog"),
        output_metrics=str(tmp_path / "metrics.csv"),
        **{"input_annotations_segm": None, **more},
    )  # fmt: skip


def test_the_challenge_of_boxes(tmp_path):
    # The dog was not looked for, the image c is not annotated, and the cow is not there.
    found = write_csv(tmp_path / "found.csv", """
ImageID LabelName Score XMin XMax YMin YMax
a ant 0.5 0.5 1 0 1
a dog 0.9 0 1 0 1
a cow 0.9 0 1 0 1
b ant 0.9 0 1 0 1
c ant 0.9 0 1 0 1""")  # fmt: skip
    numbers = challenge(tmp_path, input_predictions=found)
    prefix = "OpenImagesDetectionChallenge_PerformanceByCategory/AP@0.5IOU/"
    assert numbers[f"{prefix}ant"] == 0.5  # wrong in b, right in a
    assert numbers[f"{prefix}bee"] == 0
    assert np.isnan(numbers[f"{prefix}dog"])


def test_the_challenge_of_masks(tmp_path):
    right = encoded(RIGHT_HALF)
    # The first has the box of an object; the second is an object of its own.
    masks = write_csv(tmp_path / "masks.csv", f"""
ImageID LabelName XMin XMax YMin YMax IsGroupOf ImageWidth ImageHeight Mask
a ant 0.50 1.0 0.0 1.0 0 4 2 {right}
a cow 0.5 1 0 1 0 4 2 {right}""")  # fmt: skip
    found = write_csv(tmp_path / "found.csv", f"""
ImageID LabelName Score ImageWidth ImageHeight Mask
a ant 0.5 4 2 {right}
a cow 0.5 4 2 {right}""")  # fmt: skip
    numbers = challenge(tmp_path, input_annotations_segm=masks, input_predictions=found)
    prefix = "OpenImagesInstanceSegmentationChallenge_PerformanceByCategory/AP@0.5IOU/"
    assert (numbers[f"{prefix}ant"], numbers[f"{prefix}cow"]) == (1, 1)
    assert np.isnan(numbers[f"{prefix}bee"])  # without a mask it does not count


def test_the_challenge_of_relations(tmp_path):
    names = "ImageID LabelName1 LabelName2 RelationshipLabel XMin1 XMax1 YMin1 YMax1 XMin2 XMax2 YMin2 YMax2"
    row = "ant bee on 0 0.5 0 0.5 0.5 1 0.5 1"
    flags = {
        "input_annotations_boxes": write_csv(tmp_path / "true.csv", f"{names}\na {row}"),
        "input_annotations_labels": write_csv(
            tmp_path / "labels.csv", "ImageID LabelName Confidence\na ant 1"
        ),
        "input_predictions": write_csv(tmp_path / "found.csv", f"{names} Score\na {row} 0.5"),
        "input_class_labelmap": label_map(tmp_path / "things.pbtxt", "ant", "bee"),
        "input_relationship_labelmap": label_map(tmp_path / "relations.pbtxt", "on"),
        "output_metrics": str(tmp_path / "metrics.csv"),
    }
    parsed = oid_vrd_challenge_evaluation._parser().parse_args(
        [f"--{name}={path}" for name, path in flags.items()]
    )
    oid_vrd_challenge_evaluation.main(parsed)
    numbers = measured(tmp_path / "metrics.csv")
    assert numbers["VRDMetric_Relationships_AP@0.5IOU/on"] == numbers["VRDMetric_Phrases_mAP@0.5IOU"] == 1
    write_csv(tmp_path / "true.csv", f"{names}\na {row} more")
    with pytest.raises(DataError, match=r"true\.csv: row 2 has 13 cells"):
        oid_vrd_challenge_evaluation.main(parsed)
    write_csv(tmp_path / "true.csv", "ImageID LabelName1\na ant")
    with pytest.raises(DataError, match=r"true\.csv: there is no column LabelName2"):
        oid_vrd_challenge_evaluation.main(parsed)


def test_the_expansion_of_a_table(tmp_path):
    (tmp_path / "h.json").write_text(json.dumps(HIERARCHY))
    boxes = write_csv(tmp_path / "boxes.csv", "ImageID LabelName XMin\na d 0.5\na b 0.25")
    command = [
        sys.executable, oid_hierarchical_labels_expansion.__file__, f"--json_hierarchy_file={tmp_path / 'h.json'}",
        f"--input_annotations={boxes}", f"--output_annotations={tmp_path / 'out.csv'}", "--annotation_type=1",
    ]  # fmt: skip
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    rows = [f"a,{name},0.5" for name in "dcfg"]
    assert (tmp_path / "out.csv").read_text().splitlines() == ["ImageID,LabelName,XMin", *rows, "a,b,0.25"]
