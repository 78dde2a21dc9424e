import numpy as np
import pytest

from annotation_files import read_file
from boxtune.data import findings as kinds
from boxtune.data.formats import voc
from boxtune.data.formats.voc import image_set
from boxtune.data.image_record import Box, ImageRecord, ImageSource, ObjectRecord
from boxtune.data.label_map import LabelMap
from boxtune.errors import DataError
from voc_folder import annotation, element

BOX = "<bndbox><xmin>4</xmin><ymin>2</ymin><xmax>20</xmax><ymax>12</ymax></bndbox>"


def parsed(path):
    (found,), findings = read_file(voc.FORMAT, path)
    return found, findings


def record(*objects, width=40, height=20):
    return ImageRecord("a.jpg", ImageSource("a.jpg"), "a.xml", width, height, objects)


def test_what_is_written_is_read_back(tmp_path):
    item = ObjectRecord(
        "R&D <cat>", Box(0.1, 1 / 3, float(np.float32(0.6)), 0.5), difficult=True, truncated=True, view="Left"
    )
    voc.write([record(item)], ["a.jpg"], tmp_path, LabelMap.from_names(["R&D <cat>"]))
    found, findings = parsed(tmp_path / "a.xml")
    assert findings == []
    assert (found.filename, found.size, found.complete) == ("a.jpg", (40, 20), True)
    (read,) = found.objects
    assert (read.class_name, read.difficult, read.truncated, read.view) == ("R&D <cat>", True, True, "Left")
    assert read.edges == (13.333, 2, 20, 12)


def test_the_list_of_classes_is_for_labelimg(tmp_path):
    voc.write([], [], tmp_path, LabelMap.from_names(["dog", "cat"]))
    assert (tmp_path / "predefined_classes.txt").read_text() == "cat\ndog\n"


def test_what_xml_cannot_hold_is_refused(tmp_path):
    item = ObjectRecord("bell\a", Box(0, 0, 1, 1))
    with pytest.raises(DataError, match=r"bell\\x07 has characters"):
        voc.write([record(item)], ["a.jpg"], tmp_path, LabelMap.from_names(["bell\a"]))
    assert not list(tmp_path.glob("*.xml*"))


def test_an_object_that_was_left_out_makes_the_annotation_incomplete(tmp_path):
    found, findings = parsed(annotation(tmp_path / "a.xml", element(), "<object/>"))
    assert len(found.objects) == 1
    assert not found.complete
    assert [finding.kind.name for finding in findings] == ["object without name"]


def test_recognition_looks_at_the_root_only(tmp_path):
    assert voc.FORMAT.recognises(annotation(tmp_path / "a.xml"))
    (tmp_path / "b.xml").write_text("<annotations><image/></annotations>")
    (tmp_path / "c.xml").write_bytes(b"\xff\xd8 no xml")
    assert not voc.FORMAT.recognises(tmp_path / "b.xml")
    assert not voc.FORMAT.recognises(tmp_path / "c.xml")
    assert not voc.FORMAT.recognises(tmp_path / "absent.xml")


def test_lists_of_images(tmp_path):
    assert image_set(tmp_path, "train") is None
    (tmp_path / "train.txt").write_text("a\n\nb\n")
    assert image_set(tmp_path, "train") == {"a", "b"}
    main = tmp_path / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (main / "cat_train.txt").write_text("c -1\nd  1\n")
    (main / "dog_train.txt").write_text("d 0\ntwo words 1\n")
    (main / "cat_val.txt").write_text("e 1\n")
    assert image_set(tmp_path, "train") == {"c", "d", "two words"}
    (main / "train.txt").write_text("f\n")
    assert image_set(tmp_path, "train") == {"f"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", True),
        ("1.0", True),
        (" True ", True),
        ("0.0597", True),
        ("0", False),
        ("0.0", False),
        ("", False),
    ],
)
def test_flags_may_be_decimals(tmp_path, text, expected):
    flags = f"<difficult>{text}</difficult><truncated>{text}</truncated>"
    found, _ = parsed(annotation(tmp_path / "a.xml", element(more=flags)))
    assert (found.objects[0].difficult, found.objects[0].truncated) == (expected, expected)


def test_an_object_with_several_boxes_is_one_for_each(tmp_path):
    box = "<bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>12</ymax></bndbox>"
    several = f"<object><name>cat</name><difficult>1</difficult>{box.format(1, 5)}{box.format(7, 9)}</object>"
    found, findings = parsed(annotation(tmp_path / "a.xml", several, element("dog")))
    assert findings == []
    assert [(item.class_name, item.edges, item.difficult) for item in found.objects] == [
        ("cat", (1, 2, 5, 12), True),
        ("cat", (7, 2, 9, 12), True),
        ("dog", (4, 2, 20, 12), False),
    ]


def test_the_turned_box_of_another_program_is_named(tmp_path):
    box = "<cx>9</cx><cy>9</cy><w>4</w><h>2</h><angle>0.3</angle>"
    turned = f"<object><name>cat</name><robndbox>{box}</robndbox></object>"
    (tmp_path / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{turned}</annotation>")
    _, [finding] = parsed(tmp_path / "a.xml")
    assert (
        finding.message == "it has a <robndbox>, a turned box of roLabelImg; draw an upright one, a <bndbox>."
    )


@pytest.mark.parametrize(
    ("inside", "kind", "message"),
    [
        ("<name>cat</name>", kinds.OBJECT_WITHOUT_BOX, "it has no <bndbox>."),
        (
            f"<name>cat</name><name>dog</name>{BOX}",
            kinds.OBJECT_WITHOUT_NAME,
            "it has several names: cat, dog.",
        ),
        (f"<name> </name>{BOX}", kinds.OBJECT_WITHOUT_NAME, "it has no class."),
        (
            "<name>cat</name><bndbox><xmin>1</xmin></bndbox>",
            kinds.OBJECT_WITHOUT_BOX,
            "a coordinate is missing.",
        ),
    ],
)
def test_what_an_object_lacks_is_named(tmp_path, inside, kind, message):
    found, [finding] = parsed(annotation(tmp_path / "a.xml", f"<object>{inside}</object>"))
    assert (found.objects, found.complete) == ((), False)
    assert (finding.kind, finding.message) == (kind, message)


def test_a_name_that_is_there_twice_is_one(tmp_path):
    found, findings = parsed(
        annotation(tmp_path / "a.xml", f"<object><name>cat</name>{BOX}<name> cat</name></object>")
    )
    assert ([item.class_name for item in found.objects], findings) == (["cat"], [])
