import pytest

from annotation_files import assert_survives, locations, read, read_json, recognised
from boxtune.data import findings as kinds
from boxtune.data.formats.createml import FORMAT


def item(label="cat", **coordinates):
    return {"label": label, "coordinates": {"x": 10, "y": 20, "width": 4, "height": 6} | coordinates}


def entry(*items, image="a.jpg"):
    return {"image": image, "annotations": list(items)}


def test_boxes_are_given_by_their_centre_in_pixels(tmp_path):
    document = [entry(item(), image="sub\\a.jpg"), entry(image="b.jpg")]
    (first, second), findings = read_json(FORMAT, tmp_path, document)
    assert findings == []
    assert (first.filename, first.size, first.normalized, first.complete) == ("sub/a.jpg", None, False, True)
    [found] = first.objects
    # x from 10 - 4 / 2 to 10 + 4 / 2, y from 20 - 6 / 2 to 20 + 6 / 2
    assert (found.class_name, found.edges, found.location) == ("cat", (8, 17, 12, 23), "[0].annotations[0]")
    assert (second.filename, second.objects, second.location, second.complete) == ("b.jpg", (), "[1]", True)


@pytest.mark.parametrize("name_key", ["image", "imagefilename", "image_filename"])
@pytest.mark.parametrize("objects_key", ["annotations", "annotation"])
def test_keys_of_all_versions_are_known(tmp_path, name_key, objects_key):
    [annotation], _ = read_json(FORMAT, tmp_path, [{name_key: "a.jpg", objects_key: [item()]}])
    assert (annotation.filename, len(annotation.objects)) == ("a.jpg", 1)
    assert recognised(FORMAT, tmp_path) == ["a.json"]


def test_what_cannot_be_used_is_reported_with_its_place(tmp_path):
    document = [entry(item(label=""), item(width="wide"), {"label": "cat"}, item()), 7]
    [annotation], findings = read_json(FORMAT, tmp_path, document)
    assert len(annotation.objects) == 1
    assert not annotation.complete
    assert locations(findings) == [
        (kinds.OBJECT_WITHOUT_NAME, "[0].annotations[0]"),
        (kinds.OBJECT_WITHOUT_BOX, "[0].annotations[1]"),
        (kinds.OBJECT_WITHOUT_BOX, "[0].annotations[2].coordinates"),
        (kinds.ANNOTATION_UNREADABLE, "[1]"),
    ]
    assert [finding.image for finding in findings] == ["a.jpg"] * 3 + [""]


@pytest.mark.parametrize(
    "document", [[], {}, [1], [{"image": "a.jpg"}], [{"image": 1, "annotations": []}], "x"]
)
def test_other_json_is_foreign(tmp_path, document):
    annotations, findings = read_json(FORMAT, tmp_path, document)
    assert (annotations, locations(findings)) == ([], [(kinds.FOREIGN, "")])
    assert recognised(FORMAT, tmp_path) == []


def test_what_is_no_json_is_unreadable(tmp_path):
    (tmp_path / "a.json").write_text("[{")
    annotations, findings = read(FORMAT, tmp_path)
    assert (annotations, locations(findings)) == ([], [(kinds.ANNOTATION_UNREADABLE, "line 1, column 3")])


def test_no_junk_anywhere_is_an_error(tmp_path):
    assert_survives(FORMAT, tmp_path, [entry(item(), item("dog"))])
