import json
import os
import re
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from boxtune.data import images, reading
from boxtune.data.findings import Action, Severity
from boxtune.data.image_record import Box, ImageSource
from boxtune.data.tfrecord import MAX_OBJECTS
from boxtune.errors import DataError
from voc_folder import annotated, annotation, element, image_file


def read(folder, **options):
    return reading.read(folder, num_workers=1, **options)


def kinds(found):
    return [finding.kind.name for finding in found.findings]


def only_image(folder):
    (image,) = read(folder).images
    return image


# Real data sets, counted from the text of their files by expressions that share nothing with the reader


def counted(folder):
    """Return the XML files that have an image, their boxes, and how many of those have no area."""
    stems = {path.stem for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")}
    num_images = num_boxes = num_flat = 0
    for path in folder.rglob("*.xml"):
        if path.stem in stems:
            num_images += 1
            for box in re.findall(r"<bndbox>(.*?)</bndbox>", path.read_text(encoding="utf-8-sig"), re.DOTALL):
                edges = {tag: float(value) for tag, value in re.findall(r"<(\w+)>\s*([\d.-]+)\s*<", box)}
                num_boxes += 1
                num_flat += edges["xmin"] == edges["xmax"] or edges["ymin"] == edges["ymax"]
    return num_images, num_boxes, num_flat


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "num_images", "num_boxes", "num_flat"),
    [("raccoon", 200, 217, 0), ("bccd", 364, 4888, 2), ("cubes", 202, 198, 0), ("domino_mini", 14, 14, 0)],
)
def test_real_data_sets_are_read_to_the_last_box(shared, name, num_images, num_boxes, num_flat):
    folder = shared / "data" / "voc" / name
    assert counted(folder) == (num_images, num_boxes, num_flat)
    found = read(folder)
    assert len(found.images) == num_images
    assert sum(len(image.objects) for image in found.images) == num_boxes - num_flat
    assert kinds(found).count("box without area") == num_flat


@pytest.mark.shared
def test_real_findings_name_their_files(shared):
    flat = [f for f in read(shared / "data" / "voc" / "bccd").findings if f.kind.name == "box without area"]
    assert [finding.file for finding in flat] == [
        "BCCD/Annotations/BloodImage_00338.xml",
        "BCCD/Annotations/BloodImage_00343.xml",
    ]


# What an annotation says


def test_a_box_is_divided_by_the_size_of_the_image_without_an_offset(tmp_path):
    annotated(tmp_path, "a", element(xmin=10, ymin=5, xmax=40, ymax=20))
    image = only_image(tmp_path)
    assert (image.name, image.width, image.height) == ("a.jpg", 40, 20)
    assert image.objects[0].box == Box(0.25, 0.25, 1.0, 1.0)


def test_tags_are_read_by_name_in_any_order(tmp_path):
    image_file(tmp_path / "a.jpg")
    (tmp_path / "a.xml").write_text(
        "<annotation><object><bndbox><ymax>12</ymax><xmax>20</xmax><ymin>2</ymin><xmin>4</xmin></bndbox>"
        "<part><name>ear</name><bndbox><xmin>0</xmin></bndbox></part>"
        "<difficult>1</difficult><truncated>1</truncated><pose>Left</pose><name> cat </name></object>"
        "<size><depth>3</depth><height>20</height><width>40</width></size>"
        "<path>C:\\\\photos\\\\a.jpg</path><filename>a.jpg</filename></annotation>"
    )
    (item,) = only_image(tmp_path).objects
    assert (item.class_name, item.box) == ("cat", Box(0.1, 0.1, 0.6, 0.5))
    assert (item.difficult, item.truncated, item.is_crowd, item.view) == (True, True, False, "Left")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_byte_order_marks_line_ends_and_blank_lines_are_tolerated(tmp_path, encoding):
    path = annotated(tmp_path, "a", element("Füchsin"))
    text = path.read_text(encoding="utf-8").replace("><", ">\r\n\t<")
    path.write_bytes(("\r\n" * (encoding == "utf-8") + text).encode(encoding))
    assert only_image(tmp_path).objects[0].class_name == "Füchsin"


def test_a_missing_size_is_not_needed(tmp_path):
    image_file(tmp_path / "a.jpg")
    annotation(tmp_path / "a.xml", element(), size=None)
    found = read(tmp_path)
    assert found.images[0].objects[0].box == Box(0.1, 0.1, 0.6, 0.5)
    assert found.findings == ()


@pytest.mark.parametrize("size", [(80, 40), (0, 0), ("9" * 5000, 1)])
def test_another_size_is_noted_and_the_images_own_counts(tmp_path, size):
    image_file(tmp_path / "a.jpg")
    annotation(tmp_path / "a.xml", element(), size=size)
    found = read(tmp_path)
    assert found.images[0].objects[0].box == Box(0.1, 0.1, 0.6, 0.5)
    assert kinds(found) == (["size differs"] if size == (80, 40) else [])


@pytest.mark.parametrize(
    ("edges", "kind", "action", "box"),
    [
        ((20, 12, 4, 2), "box with swapped corners", Action.REPAIR, Box(0.1, 0.1, 0.6, 0.5)),
        ((20, 2, 4, 12), "box with swapped corners", Action.REPAIR, Box(0.1, 0.1, 0.6, 0.5)),
        ((-4, 2, 50, 12), "box beyond the image", Action.REPAIR, Box(0.1, 0.0, 0.6, 1.0)),
        ((4, 2, 4, 12), "box without area", Action.SKIP_OBJECT, None),
        ((50, 2, 60, 12), "box outside the image", Action.SKIP_OBJECT, None),
        (("nan", 2, 60, 12), "object without box", Action.SKIP_OBJECT, None),
        (("inf", 2, 60, 12), "object without box", Action.SKIP_OBJECT, None),
        (("", 2, 60, 12), "object without box", Action.SKIP_OBJECT, None),
        (("4,5", 2, 60, 12), "object without box", Action.SKIP_OBJECT, None),
    ],
)
def test_a_faulty_box_is_repaired_or_skipped_and_reported(tmp_path, edges, kind, action, box):
    annotated(tmp_path, "a", element("fine", xmin=5), element("faulty", *edges))
    found = read(tmp_path)
    (finding,) = found.findings
    assert (finding.kind.name, finding.kind.action, finding.file) == (kind, action, "a.xml")
    boxes = {item.class_name: item.box for item in found.images[0].objects}
    assert boxes.get("faulty") == box
    assert "fine" in boxes


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<object><name/><bndbox/></object>", "object without name"),
        ("<object><bndbox/></object>", "object without name"),
        ("<object><name>cat</name></object>", "object without box"),
    ],
)
def test_an_object_without_name_or_box_is_skipped_and_reported(tmp_path, text, kind):
    annotated(tmp_path, "a", element(), text)
    found = read(tmp_path)
    assert kinds(found) == [kind]
    assert found.findings[0].location == "line 1"
    assert len(found.images[0].objects) == 1


def test_a_image_without_objects_is_background_but_not_one_that_lost_them(tmp_path):
    image_file(tmp_path / "empty.jpg")
    annotation(tmp_path / "empty.xml")
    annotated(tmp_path, "lost", element(xmin=4, xmax=4))
    found = read(tmp_path)
    assert [image.name for image in found.images] == ["empty.jpg"]
    assert kinds(found) == ["image without objects", "box without area", "no usable object"]
    assert found.num_annotations == 2


# Hostile and broken XML

LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    "text",
    [
        "<annotation><object>",
        "",
        "not xml",
        f'<!DOCTYPE annotation [<!ENTITY l0 "lol">{LAUGHS}]><annotation><filename>&l9;</filename></annotation>',
        '<!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
        "<annotation><filename>&x;</filename></annotation>",
        '<?xml version="1.0" encoding="klingon"?><annotation/>',
        "<annotation>" + " " * (16 * 2**20) + "</annotation>",
    ],
    ids=["cut", "empty", "no xml", "billion laughs", "external entity", "encoding", "17 MiB"],
)
def test_unreadable_xml_is_skipped_and_reported(tmp_path, text):
    annotated(tmp_path, "fine")
    image_file(tmp_path / "bad.jpg")
    (tmp_path / "bad.xml").write_text(text)
    found = read(tmp_path)
    assert [image.name for image in found.images] == ["fine.jpg"]
    assert kinds(found)[0] == "unreadable annotation"
    assert found.findings[0].file == "bad.xml"
    assert found.num_annotations == 2


def test_other_xml_is_no_annotation(tmp_path):
    annotated(tmp_path, "a")
    (tmp_path / "project.xml").write_text("<project/>")
    found = read(tmp_path)
    assert kinds(found) == ["not an annotation"]
    assert found.num_annotations == 1


# Which image an annotation belongs to


@pytest.mark.parametrize(
    ("xml", "filename", "path"),
    [
        ("a.xml", "a.jpg", "a.jpg"),
        ("Annotations/a.xml", "a.jpg", "JPEGImages/a.jpg"),
        ("annotations/xmls/a.xml", "a.jpg", "images/a.jpg"),
        ("a.xml", "C:\\Users\\me\\photos\\a.jpg", "a.jpg"),
        ("a.xml", "/home/me/a.jpg", "a.jpg"),
        ("a.xml", "../../../../etc/a.jpg", "a.jpg"),
        ("other.xml", "a.jpg", "a.jpg"),
        ("other.xml", "A", "a.JPG"),
        ("other.xml", "a.jpg", "A.jpeg"),
        ("other.xml", 'it\'s "two" <words> & ünï.jpg', 'it\'s "two" <words> & ünï.jpg'),
        ("other.xml", "über.jpg", "u\u0308ber.jpg"),
        ("a.xml", "", "a.png"),
        ("a.xml", "gone.jpg", "a.jpg"),
        ("a.jpg.xml", "gone.jpg", "a.jpg"),
        ("a.b.xml", "a.b", "a.b.jpg"),
    ],
)
def test_the_image_is_found(tmp_path, xml, filename, path):
    image_file(tmp_path / path)
    annotation(tmp_path / xml, element(), filename=filename)
    assert only_image(tmp_path).source.path == tmp_path / path


def test_of_several_images_the_nearest_is_taken(tmp_path):
    for part in ("train", "test"):
        image_file(tmp_path / part / "images" / "1.jpg")
        annotation(tmp_path / part / "annotations" / "1.xml", element(part))
    found = {image.name: image.objects[0].class_name for image in read(tmp_path).images}
    assert found == {"test/images/1.jpg": "test", "train/images/1.jpg": "train"}


def test_a_image_that_could_be_either_of_two_is_not_guessed(tmp_path):
    image_file(tmp_path / "one" / "1.jpg")
    image_file(tmp_path / "two" / "1.jpg")
    annotation(tmp_path / "xml" / "1.xml", element())
    found = read(tmp_path)
    assert found.images == ()
    assert kinds(found)[0] == "image ambiguous"


def test_a_missing_image_and_an_unused_one_are_reported(tmp_path):
    annotation(tmp_path / "a.xml", element())
    image_file(tmp_path / "b.jpg")
    found = read(tmp_path)
    assert {(f.kind.name, f.kind.action, f.file) for f in found.findings} == {
        ("image not found", Action.SKIP_IMAGE, "a.xml"),
        ("image without annotation", Action.KEEP, "b.jpg"),
    }


def test_a_image_keeps_the_annotation_of_its_own_name(tmp_path):
    annotated(tmp_path, "b", element("own"))
    annotation(tmp_path / "a.xml", element("copy"), filename="b.jpg")
    found = read(tmp_path)
    assert [image.objects[0].class_name for image in found.images] == ["own"]
    assert [(f.kind.name, f.file) for f in found.findings] == [
        ("image annotated twice", "a.xml"),
        ("object of an annotation that is not used", "a.xml"),
        ("class lost", "."),
    ]


def test_a_similar_name_is_noted(tmp_path):
    image_file(tmp_path / "a.JPG")
    annotation(tmp_path / "other.xml", element(), filename="a.jpg")
    assert kinds(read(tmp_path)) == ["image of a similar name"]
    (tmp_path / "other.xml").unlink()
    annotation(tmp_path / "a.xml", element(), filename="gone.jpg")
    assert kinds(read(tmp_path)) == ["image of a similar name"]


# The folder is never left


def test_parent_folders_in_a_filename_lead_nowhere(tmp_path):
    image_file(tmp_path / "secret.jpg")
    annotation(tmp_path / "photos" / "a.xml", element(), filename="../secret.jpg")
    annotation(tmp_path / "photos" / "b.xml", element(), filename=str(tmp_path / "secret.jpg"))
    found = read(tmp_path / "photos")
    assert found.images == ()
    assert kinds(found) == ["image not found"] * 2


def test_links_out_of_the_folder_are_refused(tmp_path):
    image_file(tmp_path / "outside" / "a.jpg")
    annotation(tmp_path / "outside" / "b.xml", element())
    annotation(tmp_path / "photos" / "a.xml", element())
    (tmp_path / "photos" / "a.jpg").symlink_to(tmp_path / "outside" / "a.jpg")
    (tmp_path / "photos" / "b.xml").symlink_to("../outside/b.xml")
    (tmp_path / "photos" / "folder").symlink_to(tmp_path / "outside")
    found = read(tmp_path / "photos")
    assert found.images == ()
    refused = [finding.file for finding in found.findings if "leads out" in finding.message]
    assert refused == ["a.jpg", "b.xml", "folder"]


def test_links_within_the_folder_are_followed_but_not_in_circles(tmp_path):
    image_file(tmp_path / "store" / "1.jpg")
    (tmp_path / "a.jpg").symlink_to(tmp_path / "store" / "1.jpg")
    (tmp_path / "store" / "circle").symlink_to(tmp_path)
    annotation(tmp_path / "a.xml", element())
    assert only_image(tmp_path).name == "a.jpg"


def test_hidden_files_are_noted_and_not_read(tmp_path):
    annotated(tmp_path, "a")
    (tmp_path / "._a.xml").write_bytes(b"\0\5\x16\7")
    annotated(tmp_path / ".ipynb_checkpoints", "a")
    found = read(tmp_path)
    assert len(found.images) == 1
    assert [(f.kind.name, f.file) for f in found.findings] == [
        ("not looked at", "._a.xml"),
        ("not looked at", ".ipynb_checkpoints"),
    ]


def test_a_name_that_is_not_text_can_be_reported(tmp_path):
    annotated(tmp_path, "a")
    (tmp_path / os.fsdecode(b"\xff\n.jpg")).write_bytes((tmp_path / "a.jpg").read_bytes())
    (finding,) = read(tmp_path).findings
    assert finding.file == r"\udcff\n.jpg"


def test_files_come_in_byte_order(tmp_path):
    names = ["a-b", "a", "B", "ä", "a/c"]
    for name in names:
        annotated(tmp_path, name)
    assert [image.name for image in read(tmp_path).images] == [
        "B.jpg",
        "a-b.jpg",
        "a.jpg",
        "a/c.jpg",
        "ä.jpg",
    ]


@pytest.mark.parametrize("name", ["absent", "file.txt", "empty"])
def test_a_folder_that_is_none_or_has_no_annotation_is_an_error(tmp_path, name):
    (tmp_path / "file.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=name):
        read(tmp_path / name)


# Images


def png_header(width, height):
    """A PNG file that ends where its pixels would begin."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (chunk, data, b"IEND")
    )


def cut(path, end):
    path.write_bytes(path.read_bytes()[:end])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png_header(20_000, 20_000), "pixels, over the limit of 100 megapixels"),
        (png_header(10_001, 10_000), "10001 x 10000 pixels, over the limit"),
        (png_header(100, 100), "cannot be decoded"),
        (b"These are words.", "cannot be decoded"),
        (b"", "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot be decoded"),
    ],
    ids=["400 megapixels", "100.01 megapixels", "no pixels", "words", "empty", "PostScript"],
)
def test_an_unusable_image_is_skipped_and_reported(tmp_path, content, message):
    annotation(tmp_path / "a.xml", element())
    (tmp_path / "a.jpg").write_bytes(content)
    found = read(tmp_path)
    assert found.images == ()
    (finding,) = found.findings
    kind = "image too large" if "limit" in message else "unreadable image"
    assert (finding.kind.name, finding.kind.action, finding.file) == (kind, Action.SKIP_IMAGE, "a.xml")
    assert "a.jpg" in finding.message
    assert message in finding.message


@pytest.mark.parametrize(("name", "end"), [("a.jpg", -20), ("a.jpg", 500), ("a.png", -20), ("a.png", 500)])
def test_a_image_that_is_cut_short_is_skipped(tmp_path, name, end):
    cut(image_file(tmp_path / name), end)
    annotation(tmp_path / "a.xml", element(), filename=name)
    assert kinds(read(tmp_path)) == ["unreadable image"]


@pytest.mark.parametrize(("name", "end"), [("a.jpg", -2), ("a.jpg", -1), ("a.png", -12)])
def test_an_image_without_end_marker_is_repaired(tmp_path, name, end):
    path = image_file(tmp_path / name)
    whole = path.read_bytes()
    cut(path, end)
    annotation(tmp_path / "a.xml", element(), filename=name)
    (finding,) = read(tmp_path).findings
    assert (finding.kind.name, finding.file, finding.image) == ("image without end marker", name, name)
    assert images.encode(ImageSource(path)).data == whole


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.jpg", "RGB", {}),
        ("a.jpg", "L", {}),
        ("a.jpg", "RGB", {"progressive": True}),
        ("a.png", "RGB", {}),
        ("a.png", "L", {}),
        ("a.jpg", "RGB", {"format": "PNG"}),
        ("a.jpg", "RGB", {"format": "MPO"}),
    ],
)
def test_plain_images_are_copied(tmp_path, name, mode, options):
    path = image_file(tmp_path / name, mode=mode, **options)
    annotation(tmp_path / "a.xml", element(), filename=name)
    assert {finding.kind.severity for finding in read(tmp_path).findings} <= {Severity.NOTE}
    assert images.encode(ImageSource(path)).data == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "mode", "becomes"),
    [
        ("a.jpg", "CMYK", "png"),
        ("a.png", "P", "png"),
        ("a.png", "1", "png"),
        ("a.png", "RGBA", "png"),
        ("a.gif", "P", "png"),
        ("a.bmp", "RGB", "png"),
        ("a.webp", "RGB", "png"),
        ("a.tif", "RGB", "png"),
    ],
)
def test_other_images_are_encoded_again(tmp_path, name, mode, becomes):
    path = image_file(tmp_path / name, mode=mode)
    annotation(tmp_path / "a.xml", element(), filename=name)
    (finding,) = read(tmp_path).findings
    assert (finding.kind.name, finding.file, finding.image) == ("image encoded again", name, name)
    assert images.encode(ImageSource(path)).format == becomes


def test_16_bits_are_scaled_to_8_and_not_clipped(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.uint16([[0, 0x1234, 0x8000, 0xFFFF]])).save(path)
    encoded = tmp_path / "b.png"
    encoded.write_bytes(images.encode(ImageSource(path)).data)
    assert np.asarray(Image.open(encoded))[0, :, 0].tolist() == [0, 0x12, 0x80, 0xFF]


def turned(path, orientation, mode="RGB"):
    """An image stored 40 x 20, black but for its first quarter from the left, with an EXIF orientation."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :10] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize(
    ("size", "edges", "kind"),
    [
        # Orientation 6: the left of what is stored is the top of what is seen.
        ((20, 40), (0, 0, 20, 10), "image turned upright"),  # annotated as seen upright
        ((40, 20), (0, 0, 10, 20), "image turned upright"),  # annotated as stored
        (None, (0, 0, 10, 20), "orientation uncertain"),
    ],
)
def test_a_image_with_an_orientation_is_turned_and_its_box_with_it(tmp_path, name, size, edges, kind):
    turned(tmp_path / name, 6)
    annotation(tmp_path / "a.xml", element("cat", *edges), filename=name, size=size)
    found = read(tmp_path)
    assert kinds(found) == [kind]
    (image,) = found.images
    assert (image.width, image.height, image.orientation) == (20, 40, 6)
    assert image.objects[0].box == Box(0.0, 0.0, 0.25, 1.0)
    (tmp_path / "upright").write_bytes(images.encode(image.source, image.orientation).data)
    with Image.open(tmp_path / "upright") as seen:
        assert seen.getexif().get(0x0112, 1) == 1
        assert np.asarray(seen)[2:8].min() > 200
        assert np.asarray(seen)[12:].max() < 50


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_are_turned_as_pillow_turns_pixels(orientation):
    pixels = np.zeros((4, 6), np.uint8)
    pixels[1, 4] = 255  # centre at x 4.5 / 6, y 1.5 / 4
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(pixels)
    image.info["exif"] = exif.tobytes()
    upright = np.asarray(ImageOps.exif_transpose(image))
    x, y = images.upright_point(4.5 / 6, 1.5 / 4, orientation)
    assert upright[int(y * upright.shape[0]), int(x * upright.shape[1])] == 255


# Sets as a whole


def test_doubles_and_disputed_boxes_are_reported(tmp_path):
    annotated(tmp_path, "a", element("cat"), element("cat"), element("dog"), element("cat", xmin=5))
    found = read(tmp_path)
    assert kinds(found) == ["box drawn twice", "box of two classes"]
    assert [item.class_name for item in found.images[0].objects] == ["cat", "dog", "cat"]


def test_tiny_boxes_are_reported_and_kept(tmp_path):
    annotated(tmp_path, "a", element(xmin=4, xmax=6), element(xmin=4, xmax=7))
    found = read(tmp_path)
    assert kinds(found) == ["tiny box"]
    assert "2 x 10 pixels" in found.findings[0].message
    assert len(found.images[0].objects) == 2


def test_an_edge_that_misses_the_images_by_rounding_is_cut_without_a_word(tmp_path):
    annotated(tmp_path, "a", element(xmin=-0.01, xmax=40.04))
    found = read(tmp_path)
    assert found.findings == ()
    assert found.images[0].objects[0].box == Box(0.1, 0.0, 0.6, 1.0)


def test_what_an_extension_says_is_not_believed(tmp_path):
    image_file(tmp_path / "a.jpg", format="PNG")
    annotation(tmp_path / "a.xml", element())
    assert kinds(read(tmp_path)) == ["content other than its extension"]


def test_findings_name_the_line(tmp_path):
    path = annotated(tmp_path, "a", element(), element("faulty", xmin=4, xmax=4))
    path.write_text(path.read_text().replace("<object>", "\n<object>"))
    (finding,) = read(tmp_path).findings
    assert finding.where == "a.xml, line 3"
    assert finding.image == "a.jpg"


def test_workers_find_the_same(tmp_path):
    for number in range(70):
        annotated(tmp_path, f"{number:03}", element(xmin=4, xmax=4 + number % 20))
    alone, together = (reading.read(tmp_path, num_workers=count) for count in (1, 2))
    assert together.images == alone.images
    assert together.findings == alone.findings
    assert (together.fingerprints == alone.fingerprints).all()


def test_a_folder_of_annotations_may_lie_elsewhere(tmp_path):
    image_file(tmp_path / "photos" / "a.jpg")
    annotation(tmp_path / "xml" / "a.xml", element())
    assert [image.name for image in read(tmp_path / "photos", annotations=tmp_path / "xml").images] == [
        "a.jpg"
    ]


def test_a_file_of_annotations_may_be_given_in_place_of_its_folder(tmp_path):
    image_file(tmp_path / "a.jpg")
    (tmp_path / "labels.csv").write_text("a.jpg,40,20,cat,4,2,20,12\n")
    annotated(tmp_path, "b")
    assert [image.name for image in read(tmp_path / "labels.csv").images] == ["a.jpg"]


def test_a_format_that_is_not_there_or_not_known_is_an_error(tmp_path):
    annotated(tmp_path, "a")
    with pytest.raises(DataError, match="holds no annotations in COCO"):
        read(tmp_path, format_name="coco")
    with pytest.raises(DataError, match=r'no format "cocoo".*Did you mean "coco"'):
        read(tmp_path, format_name="cocoo")


@pytest.mark.parametrize(
    ("max_unusable", "message"),
    [(0.4, r"1 of 2 annotated images \(50%\).*a.xml"), (0.5, None), (0.0, "50%")],
)
def test_too_much_loss_is_refused(tmp_path, max_unusable, message):
    annotation(tmp_path / "a.xml", element())
    annotated(tmp_path, "b")
    found = read(tmp_path)
    assert re.search(message or "^$", reading.why_unusable(found, max_unusable))


def test_lost_objects_count_as_loss(tmp_path):
    annotated(tmp_path, "a", element(), *[element(xmin=4, xmax=4)] * 3)
    assert "3 of 4 objects (75%)" in reading.why_unusable(read(tmp_path), 0.5)


def test_findings_do_not_flood(tmp_path):
    annotated(tmp_path, "a", element(), element("x" * 10_000, xmin=4, xmax=4))
    (finding,) = read(tmp_path).findings
    assert len(finding.message) < 500
    assert Counter(kinds(read(tmp_path))) == {"box without area": 1}


def test_files_that_look_like_annotations_are_named_with_what_they_lack(tmp_path):
    image_file(tmp_path / "a.jpg")
    (tmp_path / "boxes.csv").write_text("location,x1,y1,x2,y2,class_name\na.jpg,1,2,3,4,cat\n")
    (tmp_path / "train.record").write_bytes(b"\x1f\x8b\x08 anything else")
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert "boxes.csv: CSV table of boxes: its header, line 1, has no column for filename" in str(
        caught.value
    )
    assert "train.record: TFRecord: it is compressed with gzip. Unpack it (in its folder: mv" in str(
        caught.value
    )
    with pytest.raises(DataError, match=r"boxes\.csv: its first row is neither a header nor a box"):
        read(tmp_path, format_name="csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a.heic: it cannot be decoded: it is .*HEIC"),
        ("a.jxl", b"\xff\x0a", r"a.jxl: it cannot be decoded: it is JPEG XL\. Save it as JPEG or PNG"),
        ("a.dng", b"II*\0", "a.dng: it cannot be decoded: it is damaged TIFF"),
        ("a.tga", b"", "a.tga: it cannot be decoded: the file is empty"),
    ],
)
def test_images_that_are_there_but_cannot_be_read_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    annotation(tmp_path / "a.xml", element(), filename=name)
    (finding,) = read(tmp_path).findings
    assert finding.kind.name == "unreadable image"
    assert re.search(message, finding.message)


def test_a_rare_image_beside_a_jpeg_of_its_name_is_not_meant(tmp_path):
    for name in ("a.jpg", "a.tga"):
        image_file(tmp_path / name)
    annotation(tmp_path / "a.xml", element(), filename="a")
    assert only_image(tmp_path).name == "a.jpg"


@pytest.mark.parametrize("name", ["a.tga", "a.avif"])
def test_rare_images_are_read(tmp_path, name):
    image_file(tmp_path / name)
    annotation(tmp_path / "a.xml", element(), filename=name)
    assert only_image(tmp_path).name == name


@pytest.mark.parametrize("extra", [0, 1])
def test_too_many_objects_are_refused_and_never_cut(tmp_path, extra):
    image_file(tmp_path / "a.jpg", width=80, height=80)
    corners = [(x, y) for x in range(75) for y in range(75)][: MAX_OBJECTS + extra]
    boxes = [element(xmin=x, ymin=y, xmax=x + 4, ymax=y + 4) for x, y in corners]
    annotation(tmp_path / "a.xml", *boxes, size=(80, 80))
    found = read(tmp_path)
    assert [len(image.objects) for image in found.images] == [MAX_OBJECTS] * (1 - extra)
    assert kinds(found) == ["too many objects"] * extra


def coco_file(path, names):
    entries = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [4, 2, 16, 10]} for n in range(len(names))]
    path.write_text(
        json.dumps({"images": entries, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]})
    )


def test_a_lost_file_about_many_images_loses_all_of_them(tmp_path):
    names = [f"{number}.jpg" for number in range(9)]
    for name in names:
        image_file(tmp_path / name)
    coco_file(tmp_path / "train.json", names[:6])
    coco_file(tmp_path / "val.json", names[6:])
    (tmp_path / "train.json").write_bytes((tmp_path / "train.json").read_bytes()[:-20])
    found = read(tmp_path)
    assert (len(found.images), found.num_annotations) == (3, 9)
    assert "6 of 9 annotated images (67%) cannot be used" in reading.why_unusable(found, 0.5)


@pytest.mark.parametrize("names", [("p1.jpg", "p1.png"), ("p1.webp", "p1.png")])
def test_two_names_do_not_share_an_image(tmp_path, names):
    image_file(tmp_path / "p1.jpg")
    coco_file(tmp_path / "a.json", names)
    found = read(tmp_path)
    assert len(found.images[0].objects) == 1
    lost = [finding.message for finding in found.findings if finding.kind.name == "image not found"]
    assert lost == [f'there is no "p1.png"; p1.jpg, which is like it, is the image of "{names[0]}".']


def test_names_in_a_format_that_is_not_read_take_no_image(tmp_path):
    for name in ("a", "b"):
        image_file(tmp_path / f"{name}.jpg")
    coco_file(tmp_path / "old.json", ["a.png"])
    rows = "".join(f"{name}.jpeg,40,20,cat,4,2,20,12\n" for name in ("a", "b"))
    (tmp_path / "new.csv").write_text("filename,width,height,class,xmin,ymin,xmax,ymax\n" + rows)
    found = read(tmp_path)
    assert (found.format_names, len(found.images)) == (["csv"], 2)


def test_a_file_about_one_image_is_about_it_whatever_it_writes(tmp_path):
    image_file(tmp_path / "a.jpg")
    for folder, written in (("one", "a.png"), ("two", "a.jpeg")):
        annotation(tmp_path / folder / "a.xml", element(xmax=20 if folder == "one" else 30), filename=written)
    found = read(tmp_path)
    assert "image not found" not in kinds(found)


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("gs://bucket/my set", "gsutil -m cp -r 'gs://bucket/my set' ."),
        ("s3://b/x", "aws s3 cp --recursive s3://b/x FOLDER"),
    ],
)
def test_what_is_elsewhere_is_to_be_copied_first(url, command):
    with pytest.raises(DataError) as caught:
        read(Path(url))
    assert str(caught.value) == (
        f"{url} is not on this machine, and nothing is read from elsewhere. Copy it first: {command}"
    )
