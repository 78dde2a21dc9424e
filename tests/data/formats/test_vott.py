import pytest

from annotation_files import assert_survives, locations, read_json, recognised
from boxtune.data import findings as kinds
from boxtune.data.formats.vott import FORMAT


def region(*tags, **box):
    return {"tags": list(tags), "boundingBox": {"left": 8, "top": 17, "width": 4, "height": 6} | box}


def asset(*regions, name="a.jpg", state=2):
    about = {"name": name, "path": f"file:C:/me/{name}", "size": {"width": 40, "height": 30}, "state": state}
    return {"asset": about, "regions": list(regions), "version": "2.2.0"}


def export(**assets):
    return {"name": "mine", "tags": [{"name": "cat", "color": "#5db300"}], "assets": assets}


def test_the_assets_of_a_project(tmp_path):
    document = export(x1=asset(region("cat")), x2=asset(name="b%20c.jpg"), x3=asset(name="c.jpg", state=0))
    annotations, findings = read_json(FORMAT, tmp_path, document)
    assert findings == []
    first, second = annotations  # nobody has opened the third
    assert (first.filename, first.size, first.location, first.complete) == (
        "a.jpg",
        (40, 30),
        "assets.x1",
        True,
    )
    [found] = first.objects
    # x from 8 to 8 + 4, y from 17 to 17 + 6
    assert (found.class_name, found.edges, found.location) == ("cat", (8, 17, 12, 23), "assets.x1.regions[0]")
    assert (second.filename, second.objects) == ("b%20c.jpg", ())
    assert recognised(FORMAT, tmp_path) == ["a.json"]


def test_one_asset_in_a_file(tmp_path):
    [annotation], findings = read_json(FORMAT, tmp_path, asset(region("cat"), region("dog", left=1)))
    assert findings == []
    assert [one.class_name for one in annotation.objects] == ["cat", "dog"]
    assert annotation.location == ""  # the file is about one image


def test_a_region_of_two_tags_is_an_object_of_each(tmp_path):
    [annotation], _ = read_json(FORMAT, tmp_path, asset(region("cat", "wild")))
    assert [(one.class_name, one.edges) for one in annotation.objects] == [
        ("cat", (8, 17, 12, 23)),
        ("wild", (8, 17, 12, 23)),
    ]


def test_what_cannot_be_used_is_reported_with_its_place(tmp_path):
    regions = (region(), region("cat", width="wide"), {"tags": ["cat"]}, 7, region("cat"))
    [annotation], findings = read_json(FORMAT, tmp_path, export(x=asset(*regions), y=7))
    assert len(annotation.objects) == 1
    assert not annotation.complete
    assert locations(findings) == [
        (kinds.OBJECT_WITHOUT_NAME, "assets.x.regions[0]"),
        (kinds.OBJECT_WITHOUT_BOX, "assets.x.regions[1]"),
        (kinds.OBJECT_WITHOUT_BOX, "assets.x.regions[2].boundingBox"),
        (kinds.OBJECT_WITHOUT_BOX, "assets.x.regions[3]"),
        (kinds.ANNOTATION_UNREADABLE, "assets.y."),
    ]


@pytest.mark.parametrize("document", [[], {}, {"assets": {}}, {"assets": {"x": {"asset": 1}}}, {"asset": {}}])
def test_other_json_is_foreign(tmp_path, document):
    annotations, findings = read_json(FORMAT, tmp_path, document)
    assert (annotations, locations(findings)) == ([], [(kinds.FOREIGN, "")])
    assert recognised(FORMAT, tmp_path) == []


def test_junk_anywhere_loses_nothing_in_silence(tmp_path):
    assert_survives(FORMAT, tmp_path, export(x=asset(region("cat")), y=asset(region("dog"), name="b.jpg")))
