import base64
import io
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxtune.data import findings as kinds
from boxtune.data.findings import Finding
from boxtune.data.image_record import Box, ImageRecord, ImageSource, ObjectRecord
from boxtune.data.label_map import Label, LabelMap
from boxtune.errors import DataError
from boxtune.metrics.label_doubts import Doubt, Kind, LabelDoubts, Seen
from boxtune.report import page as pages
from boxtune.report import previews
from boxtune.report.anchor_fit import AnchorFit
from boxtune.report.data_page import write_page
from boxtune.report.previews import MAX_PREVIEW_SIDE, MAX_PREVIEWS, choose_previews

HOSTILE = '</script><img src=x onerror="alert(1)">&amp;\u2028'


def image_file(path, size=(40, 20), color=(200, 30, 30)):
    Image.new("RGB", size, color).save(path)
    return ImageSource(path)


def record(image, name="a.png", objects=(), **options):
    return ImageRecord(name, image, "a.xml", 40, 20, tuple(objects), **options)


def item(class_name="owl", box=(0.1, 0.2, 0.5, 0.6), **options):
    return ObjectRecord(class_name, Box(*box), **options)


def written(folder, *, title="Owls", parts, findings=(), names=("owl",), label_map=None, **options):
    """Return the text of a page."""
    path = folder / "page.html"
    label_map = label_map or LabelMap.from_names(names)
    write_page(path, title=title, parts=parts, findings=findings, label_map=label_map, **options)
    assert [file for file in folder.iterdir() if file.suffix == ".partial"] == []
    return path.read_text(encoding="utf-8")


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


def previews_of(page):
    """Return the previews as images, None where there is none."""
    blocks = re.findall(r'<script type="text/plain" id="previews-\d+">(.*?)</script>', page, re.DOTALL)
    lines = [line for block in blocks for line in block.split("\n")]
    return [Image.open(io.BytesIO(base64.b64decode(line))) if line else None for line in lines]


def integers(column):
    return np.frombuffer(base64.b64decode(column), "<u4").tolist()


def floats(column):
    return np.frombuffer(base64.b64decode(column), "<f4")


def test_images_and_objects_as_columns(tmp_path):
    image = image_file(tmp_path / "a.png")
    objects = [item("owl", (0.1, 0.2, 0.5, 0.6)), item("cat", (0, 0, 1, 1), difficult=True, group_of=True)]
    parts = {
        "train": [record(image, "a.png", objects), record(image, "b.png")],
        "validation": [record(image, "c.png", objects[:1])],
    }
    data = data_of(written(tmp_path, parts=parts, names=("cat", "owl")))
    assert data["parts"] == ["train", "validation"]
    assert data["images"]["name"] == ["a.png", "b.png", "c.png"]
    assert integers(data["images"]["part"]) == [0, 0, 1]
    assert integers(data["images"]["width"]) == [40, 40, 40]
    assert integers(data["images"]["height"]) == [20, 20, 20]
    assert integers(data["images"]["preview"]) == [1, 2, 3]
    # The objects of image p are those from objects[p] to objects[p + 1].
    assert integers(data["images"]["objects"]) == [0, 2, 2, 3]
    assert data["classes"] == {"name": ["cat", "owl"], "known": 2}
    assert integers(data["objects"]["class"]) == [1, 0, 1]
    assert integers(data["objects"]["flags"]) == [0, 0b1001, 0]
    np.testing.assert_allclose(floats(data["objects"]["box"])[:4], [0.1, 0.2, 0.5, 0.6])
    assert data["fit"] is None


def test_classes_that_the_label_map_lacks_come_last(tmp_path):
    image = image_file(tmp_path / "a.png")
    objects = [item("zebra"), item("Great owl"), item("ant")]
    label_map = LabelMap((Label(1, "owl", "Great owl"), Label(3, "cat")))
    data = data_of(written(tmp_path, parts={"all": [record(image, objects=objects)]}, label_map=label_map))
    assert data["classes"] == {"name": ["owl", "cat", "ant", "zebra"], "known": 2}
    assert integers(data["objects"]["class"]) == [3, 0, 2]


def test_findings_know_their_images(tmp_path):
    image = image_file(tmp_path / "a.png")
    parts = {
        "train": [record(image, "a.png")],
        "validation": [record(image, "b.png"), record(image, "a.png")],
    }
    found = [
        Finding(kinds.BOX_TINY, "a.xml", "It is tiny.", location="line 3", image="b.png"),
        Finding(kinds.IMAGE_GREY, "b.png", "It is grey."),
        Finding(kinds.IMAGE_MISSING, "c.xml", "There is no c.png."),
        Finding(kinds.LEAK, "a.png", "It is in both.", image="a.png"),
    ]
    data = data_of(written(tmp_path, parts=parts, findings=found))
    columns = data["findings"]
    assert [data["kinds"][kind]["name"] for kind in integers(columns["kind"])] == [
        finding.kind.name for finding in found
    ]
    assert columns["file"] == ["a.xml", "b.png", "c.xml", "a.png"]
    assert columns["location"] == ["line 3", "", "", ""]
    assert columns["message"] == ["It is tiny.", "It is grey.", "There is no c.png.", "It is in both."]
    starts, linked = integers(columns["links"]), integers(columns["images"])
    assert [linked[start:end] for start, end in pairwise(starts)] == [
        [1],
        [1],
        [],
        [0, 2],
    ]


def test_doubts_know_their_objects_and_what_the_model_sees(tmp_path):
    image = image_file(tmp_path / "a.png")
    parts = {
        "train": [record(image, "a.png", [item("owl"), item("cat")])],
        "validation": [record(image, "b.png", [item("ant"), item("owl")])],
    }
    found = [
        Doubt(Kind.WRONG_CLASS, 0.75, 1, 1, Seen(0, 0.5, (2, 8, 10, 24))),
        Doubt(Kind.MISSING, 0.5, 0, None, Seen(1, 0.25, (0, 0, 20, 40))),
        Doubt(Kind.SURPLUS, 0.25, 0, 1, None),
    ]
    doubts = label_doubts_of(found, class_names=["cat", "owl"], unknown={HOSTILE: 3})
    data = data_of(written(tmp_path, parts=parts, names=("owl", "cat", "ant"), doubts=doubts))["doubts"]
    assert [data["kinds"][kind] for kind in integers(data["kind"])] == ["wrong class", "missing", "surplus"]
    assert floats(data["score"]).tolist() == [0.75, 0.5, 0.25]
    assert integers(data["image"]) == [1, 0, 0]
    # Objects count from 1 on in all images, classes as those of the page do: ant, cat, owl.
    assert integers(data["object"]) == [4, 0, 2]
    assert integers(data["seen"]) == [2, 3, 0]
    np.testing.assert_allclose(
        floats(data["seen_box"]).reshape(-1, 4), [[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1], [0, 0, 0, 0]], rtol=1e-6
    )
    assert HOSTILE.replace("\u2028", "\\u2028") in data["about"][-1]
    assert data_of(written(tmp_path, parts=parts, names=("owl", "cat", "ant")))["doubts"] is None


def label_doubts_of(found, *, class_names=("owl",), unknown=None):
    return LabelDoubts(
        models=["mine"],
        class_names=class_names,
        unknown=unknown or {},
        num_labels=4,
        num_images=2,
        num_trained_on=0,
        doubts=found,
    )


def test_every_kind_says_what_is_done_about_it(tmp_path):
    shown = data_of(written(tmp_path, parts={}))["kinds"]
    assert [(kind["name"], kind["severity"], kind["action"], kind["advice"]) for kind in shown] == [
        (kind.name, kind.severity, kind.action, kind.advice) for kind in kinds.KINDS
    ]


def test_a_data_set_of_nothing(tmp_path):
    page = written(tmp_path, parts={}, names=())
    assert data_of(page)["images"]["name"] == []
    assert previews_of(page) == []


def test_previews_are_small_and_upright(tmp_path):
    image = image_file(tmp_path / "a.png", size=(2000, 1000))
    turned = image_file(tmp_path / "b.png", size=(30, 10))
    page = written(tmp_path, parts={"all": [record(image), record(turned, "b.png", orientation=6)]})
    assert [preview.size for preview in previews_of(page)] == [
        (MAX_PREVIEW_SIDE, MAX_PREVIEW_SIDE // 2),
        (10, 30),
    ]
    assert {preview.format for preview in previews_of(page)} == {"JPEG"}


def test_previews_lie_in_blocks_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "PREVIEWS_IN_BLOCK", 2)
    images = [image_file(tmp_path / f"{number}.png", color=(50 * number,) * 3) for number in range(5)]
    page = written(tmp_path, parts={"all": [record(image, f"{n}.png") for n, image in enumerate(images)]})
    assert re.findall(r'id="previews-(\d+)"', page) == ["0", "1", "2"]
    assert [preview.getpixel((0, 0))[0] for preview in previews_of(page)] == pytest.approx(
        [0, 50, 100, 150, 200], abs=2
    )
    assert data_of(page)["previews"]["block"] == 2


def test_an_image_that_is_gone_has_no_preview(tmp_path):
    here = image_file(tmp_path / "a.png")
    page = written(
        tmp_path, parts={"all": [record(ImageSource(tmp_path / "gone.png")), record(here, "a.png")]}
    )
    assert [preview is None for preview in previews_of(page)] == [True, False]


def test_up_to_the_limit_all_have_a_preview(tmp_path, monkeypatch):
    assert choose_previews(MAX_PREVIEWS, set()) == list(range(MAX_PREVIEWS))
    monkeypatch.setattr(previews, "MAX_PREVIEWS", 1)
    image = image_file(tmp_path / "a.png")
    found = [Finding(kinds.IMAGE_GREY, "b.png", "It is grey.", image="b.png")]
    page = written(tmp_path, parts={"all": [record(image, "a.png"), record(image, "b.png")]}, findings=found)
    assert integers(data_of(page)["images"]["preview"]) == [0, 1]
    assert len(previews_of(page)) == 1


def test_hostile_names_reach_the_page_as_text(tmp_path):
    image = image_file(tmp_path / "a.png")
    parts = {HOSTILE: [record(image, HOSTILE + "\udcff", [item(HOSTILE)])]}
    found = [Finding(kinds.BOX_TINY, HOSTILE, HOSTILE, location=HOSTILE, image=HOSTILE)]
    benign = {"part": [record(image, "a.png", [item()])]}
    page = written(tmp_path, title=HOSTILE, parts=parts, findings=found, names=(HOSTILE,))
    assert "<img" not in page
    assert page.count("</script>") == written(tmp_path, parts=benign).count("</script>")
    # What cannot be printed is shown by its escape.
    assert data_of(page)["classes"]["name"] == [HOSTILE.replace("\u2028", "\\u2028")]
    assert data_of(page)["images"]["name"] == [HOSTILE.replace("\u2028", "\\u2028") + "\\udcff"]


def test_placeholders_in_names_stay_names(tmp_path):
    names = ["<!-- data -->", "<!-- previews -->", "<!-- title -->"]
    image = image_file(tmp_path / "a.png")
    page = written(tmp_path, title=names[1], parts={"all": [record(image, name) for name in names]})
    assert data_of(page)["images"]["name"] == names
    assert len(previews_of(page)) == 3


def test_the_fit_of_anchors(tmp_path):
    image = image_file(tmp_path / "a.png")
    anchors = np.float32([[0, 0, 0.5, 0.25], [0.5, 0, 1, 0.25]])
    boxes = np.float32([[0, 0, 0.5, 0.125]])
    fit = AnchorFit(anchors, 0.5, boxes, np.float32([0.5]))
    fitted = data_of(written(tmp_path, parts={"all": [record(image, objects=[item()])]}, fit=fit))["fit"]
    assert (fitted["anchors"], fitted["threshold"]) == (2, 0.5)
    assert floats(fitted["shape"]).tolist() == [0.5, 0.25]
    assert floats(fitted["size"]).tolist() == [0.5, 0.125]
    assert floats(fitted["iou"]).tolist() == [0.5]


def test_a_fit_of_other_objects_is_refused(tmp_path):
    fit = AnchorFit(np.zeros((1, 4)), 0.5, np.zeros((0, 4)), np.zeros(0))
    with pytest.raises(ValueError, match="0 objects, the page has 1"):
        written(tmp_path, parts={"all": [record(ImageSource(Path("a.png")), objects=[item()])]}, fit=fit)


def test_a_page_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match=r"no/page\.html cannot be written"):
        write_page(tmp_path / "no" / "page.html", title="", parts={}, findings=[], label_map=LabelMap(()))
