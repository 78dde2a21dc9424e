"""Lines of YOLO labels that could be polygons, or boxes with keypoints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_files import read
from boxtune.data import findings as kinds
from boxtune.data.formats.yolo import FORMAT
from boxtune.data.formats.yolo_points import told_apart
from voc_folder import image_file

FACE = [0.5, 0.5, 0.2, 0.4, 0.45, 0.4, 0.55, 0.4, 0.5, 0.5, 0.46, 0.6, 0.54, 0.6]
"""Eyes, nose and the corners of a mouth, behind a box."""

OTHER_FACE = [0.3, 0.6, 0.3, 0.4, 0.25, 0.5, 0.36, 0.51, 0.3, 0.6, 0.26, 0.7, 0.34, 0.7]
POSE = [0.5, 0.5, 0.2, 0.4, 0.45, 0.4, 2, 0.55, 0.6, 1, 0, 0, 0]
QUAD = [0.3, 0.3, 0.4, 0.32, 0.42, 0.4, 0.31, 0.45]
POINT = [0.4, 0.4, 0.3, 0.3, 0.45, 0.45]


def with_visibility(face):
    return [*face[:4], *(value for n in range(4, len(face), 2) for value in (*face[n : n + 2], 0.5))]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([FACE, OTHER_FACE], ("keypoints", (5, 2))),
        # A stray line does not make polygons of all the others, nor do objects of two numbers of keypoints.
        ([FACE, OTHER_FACE, [0.1, 0.1, 0.3, 0.1, 0.3, 0.3]], ("unsure", (5, 2))),
        ([FACE, OTHER_FACE, [*FACE, 0.5, 0.5]], ("unsure", (5, 2))),
        ([QUAD, QUAD[:6], [*QUAD, 0.2, 0.4], [*QUAD, 0.2, 0.4, 0.1, 0.35]], ("polygons", (0, 0))),
        ([FACE, OTHER_FACE, [0.5, 0.5, 0.2, 0.4]], ("keypoints", (5, 2))),
        ([[*FACE[:4], *[-1] * 10], FACE], ("keypoints", (5, 2))),
        ([POSE], ("keypoints", (3, 3))),
        ([with_visibility(FACE)], ("keypoints", (5, 3))),
        ([POINT], ("unsure", (1, 2))),
        ([QUAD], ("unsure", (2, 2))),
        ([[0.3, 0.3, 0.4, 0.3, 0.4, 0.4, 0.3, 0.4]], ("polygons", (2, 2))),  # a box by its corners
        ([[0.3, 0.3, 0.4, 0.32, 0.42, 0.42, 0.32, 0.4]], ("polygons", (2, 2))),  # a turned one
        ([[*QUAD, *QUAD[:2]]], ("polygons", (3, 2))),  # a closed polygon
        ([FACE, QUAD], ("polygons", (0, 0))),
        ([[0.8, 0.8, 0.9, 0.82, 0.92, 0.9, 0.81, 0.95]], ("polygons", (2, 2))),
        ([[0.5, 0.5, 0.1, 0.1, 0.9, 0.9, 2, 0.1, 0.1, 2]], ("unsure", (2, 3))),  # points far from the box
        ([[0.5, 0.5, 0.2, 0.4, 0.5]], ("polygons", (0, 0))),
        ([], ("polygons", (0, 0))),
    ],
)
def test_lines_are_told_apart(lines, expected):
    assert told_apart(lines) == expected


@given(st.lists(st.tuples(*[st.floats(0.05, 0.95)] * 2, st.floats(0.01, 0.05)), min_size=4, max_size=20))
def test_outlines_of_objects_all_over_images_are_never_taken_for_keypoints(objects):
    lines = [
        [x, y - r, x + r, y - r / 2, x + r, y + r / 2, x, y + r, x - r, y + r / 2, x - r, y - r / 2]
        for x, y, r in objects
    ]
    assert told_apart(lines)[0] != "keypoints"


def data_set(folder, *lines, yaml="names: [face]\n"):
    for number, line in enumerate(lines):
        image_file(folder / "images" / f"{number}.jpg")
        path = folder / "labels" / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"0 {' '.join(map(str, line))}\n")
    (folder / "data.yaml").write_text(yaml)
    return read(FORMAT, folder)


def edges(annotations):
    return [[round(edge, 6) for edge in item.edges] for one in annotations for item in one.objects]


def test_keypoints_that_nothing_announces_leave_boxes_what_they_are(tmp_path):
    annotations, findings = data_set(tmp_path, FACE, OTHER_FACE)
    assert edges(annotations) == [[0.4, 0.3, 0.6, 0.7], [0.15, 0.4, 0.45, 0.8]]
    first = annotations[0].objects[0]
    assert [(point.x, point.y) for point in first.keypoints] == list(zip(FACE[4::2], FACE[5::2], strict=True))
    assert first.mask is None
    assert [finding.kind for finding in findings] == [kinds.KEYPOINTS_TOLD]
    assert "kpt_shape: [5, 2]" in findings[0].message


def test_what_could_be_both_is_refused_until_the_data_set_says_it(tmp_path):
    annotations, findings = data_set(tmp_path, POINT, POINT)
    assert edges(annotations) == []
    assert [finding.kind for finding in findings] == [kinds.KEYPOINTS_UNSURE] * 2
    annotations, findings = data_set(tmp_path, POINT, yaml="names: [face]\nkpt_shape: [1, 2]\n")
    assert (edges(annotations)[0], findings) == ([0.25, 0.25, 0.55, 0.55], [])
    annotations, findings = data_set(tmp_path, POINT, yaml="names: [face]\ntask: segment\n")
    assert (edges(annotations)[0], findings) == ([0.3, 0.3, 0.45, 0.45], [])
