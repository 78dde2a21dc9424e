import errno
import importlib
import json
import os
import subprocess
import sys
from collections import Counter

import pytest
import tensorflow as tf

from boxtune import cli
from boxtune.check import check
from boxtune.data import files, record_writer
from boxtune.data.cutting import Cutting
from boxtune.data.label_map import Label, LabelMap, read_label_map, write_label_map
from boxtune.data.preparation import Options
from boxtune.data.tiling import Tiling
from boxtune.errors import DataError
from voc_folder import annotated, annotation, element, image_file

verb = importlib.import_module("boxtune.convert")


def convert(photos, output_dir, *, to="tfrecord", **options):
    return verb.convert(photos, output_dir, Options(num_workers=1, **options), to=to)


def counts(report, part):
    """Return the images and the objects of each class."""
    found = [item.class_name for image in report.prepared.parts[part] for item in image.objects]
    return len(report.prepared.parts[part]), dict(Counter(found))


@pytest.fixture
def photos(tmp_path):
    """Ten images: a cat in each, dogs in two, and one annotation without image."""
    folder = tmp_path / "photos"
    for number in range(10):
        dog = [element("dog", xmin=8)] * (number in (3, 7))
        annotated(folder, f"{number}", element("cat"), *dog)
    annotation(folder / "lost.xml", element())
    return folder


def ids(folder, part):
    examples = (tf.train.Example.FromString(record.numpy()) for record in records(folder, part))
    return {example.features.feature["image/source_id"].bytes_list.value[0].decode() for example in examples}


def records(folder, part):
    return tf.data.TFRecordDataset(sorted(map(str, folder.glob(f"{part}-*"))))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


SHARDS = ["train-00000-of-00001.tfrecord", "validation-00000-of-00001.tfrecord"]
FILES = sorted(["label_map.pbtxt", "report.json", "split.json", "train.list", "validation.list", *SHARDS])


def test_a_folder_becomes_records_label_map_and_report(photos, tmp_path):
    out = tmp_path / "new" / "records"
    report = convert(photos, out)
    assert names(out) == FILES
    assert (counts(report, "train")[0], counts(report, "validation")[0]) == (8, 2)
    assert ids(out, "train") | ids(out, "validation") == {f"{number}.jpg" for number in range(10)}
    assert len(ids(out, "validation")) == 2
    assert read_label_map(out / "label_map.pbtxt") == LabelMap((Label(1, "cat"), Label(2, "dog")))
    assert counts(report, "train") == (8, {"cat": 8, "dog": 1})
    assert counts(report, "validation") == (2, {"cat": 2, "dog": 1})
    assert report.files == {"train": [SHARDS[0]], "validation": [SHARDS[1]]}


def test_the_report_is_for_people_and_programs(photos, tmp_path):
    report = convert(photos, tmp_path / "out")
    page = str(report)
    assert (
        "error: image not found (1): skip the image. Add the image, or delete the annotation.\n"
        "  lost.xml: no image" in page
    )
    assert [line.split() for line in page.splitlines()[2:7]] == [
        ["train", "validation"],
        ["images", "8", "2"],
        ["objects", "9", "3"],
        ["cat", "8", "2"],
        ["dog", "1", "1"],
    ]
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["parts"]["train"] == {
        "images": 8,
        "objects": 9,
        "classes": {"cat": 8, "dog": 1},
        "files": ["train-00000-of-00001.tfrecord"],
    }
    (finding,) = content["findings"]
    assert (finding["kind"], finding["file"]) == ("image not found", "lost.xml")


def test_many_findings_are_cut_on_the_page_and_whole_in_the_report(photos, tmp_path):
    for number in range(5):
        image_file(photos / f"unused-{number}.jpg")
    page = str(convert(photos, tmp_path / "out"))
    assert "note: image without annotation (5)" in page
    assert "unused-2.jpg" in page
    assert "unused-3.jpg" not in page
    assert "... and 2 more" in page
    assert "unused-4.jpg" in (tmp_path / "out" / "report.json").read_text()


def test_the_same_seed_gives_the_same_bytes(photos, tmp_path):
    for name in ("one", "two", "three"):
        convert(photos, tmp_path / name, seed=int(name == "three"))
    contents = [
        [path.read_bytes() for path in sorted((tmp_path / n).iterdir())] for n in ("one", "two", "three")
    ]
    assert contents[0] == contents[1] != contents[2]


def test_a_label_map_is_kept_as_it_is(photos, tmp_path):
    text = "# mine\nitem { id: 5 name: 'dog' } item { id: 3 name: 'cat' } item { id: 9 name: 'cow' }\n"
    (tmp_path / "mine.pbtxt").write_text(text)
    report = convert(photos, tmp_path / "out", label_map=tmp_path / "mine.pbtxt")
    assert (tmp_path / "out" / "label_map.pbtxt").read_text() == text
    assert counts(report, "train") == (8, {"cat": 8, "dog": 1})
    assert [finding.kind.name for finding in report.prepared.findings] == [
        "image not found",
        "label ids with gaps or out of order",
        "class without objects",
    ]


def test_the_label_map_of_the_folder_itself_may_be_given(photos, tmp_path):
    out = tmp_path / "out"
    convert(photos, out)
    before = (out / "label_map.pbtxt").read_bytes()
    convert(photos, out, label_map=out / "label_map.pbtxt")
    assert (out / "label_map.pbtxt").read_bytes() == before


def test_a_class_that_the_label_map_lacks_is_an_error(photos, tmp_path):
    write_label_map(LabelMap.from_names(["cat", "dogs"]), tmp_path / "mine.pbtxt")
    with pytest.raises(DataError, match=r'3\.xml.*"dog".*Did you mean "dogs"'):
        convert(photos, tmp_path / "out", label_map=tmp_path / "mine.pbtxt")


def test_a_list_decides_what_validates(photos, tmp_path):
    (tmp_path / "validation.txt").write_text("0\n5.jpg\n")
    convert(photos, tmp_path / "out", validation_files=tmp_path / "validation.txt")
    assert ids(tmp_path / "out", "validation") == {"0.jpg", "5.jpg"}
    assert len(ids(tmp_path / "out", "train")) == 8


# Writing again, and not to the end


def test_shards_of_an_earlier_call_go_and_nothing_else(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(record_writer, "IMAGES_PER_SHARD", 3)
    convert(photos, out)
    assert len(list(out.glob("train-0000?-of-00003.tfrecord"))) == 3
    (out / "train-mine.tfrecord").touch()
    monkeypatch.undo()
    convert(photos, out)
    assert names(out) == sorted([*FILES, "train-mine.tfrecord"])


@pytest.mark.parametrize("failure", [KeyboardInterrupt, DataError])
def test_an_interrupted_call_leaves_what_was_there(photos, tmp_path, monkeypatch, failure):
    out = tmp_path / "out"
    convert(photos, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    to_example = record_writer.to_example

    def fail_at_the_end(record, label_map, image):
        if record.name in last:
            raise failure
        return to_example(record, label_map, image)

    last = ids(out, "validation")
    monkeypatch.setattr(record_writer, "to_example", fail_at_the_end)
    with pytest.raises(failure):
        convert(photos, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# Errors


def test_what_was_found_is_told_before_a_refusal(photos, tmp_path, caplog):
    with pytest.raises(DataError, match="at least 0 and below 1"):
        convert(photos, tmp_path / "out", validation_fraction=1.5)
    assert "lost.xml" in caplog.text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_fraction": 1.5}, "at least 0 and below 1"),
        ({"max_unusable": 0.01}, r"1 of 11 annotated images \(9%\)"),
    ],
)
def test_unusable_options_are_refused_before_anything_is_written(photos, tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        convert(photos, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_single_photograph_is_not_enough(tmp_path):
    annotated(tmp_path / "photos", "a")
    with pytest.raises(DataError, match=r"usable image"):
        convert(tmp_path / "photos", tmp_path / "out")


def test_an_absent_folder_and_one_without_annotations_are_errors(tmp_path):
    with pytest.raises(DataError, match="absent is not a folder"):
        convert(tmp_path / "absent", tmp_path / "out")
    image_file(tmp_path / "photos" / "a.jpg")
    with pytest.raises(DataError, match=r"holds no annotations that can be read\.") as caught:
        convert(tmp_path / "photos", tmp_path / "out")
    # How to begin.
    assert "It holds 1 image. If no boxes are drawn yet, draw them" in str(caught.value)
    assert str(caught.value).endswith("\n  a.jpg, a.xml")


def test_a_folder_that_cannot_be_written_to_is_an_error(photos, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file cannot be written to"):
        convert(photos, tmp_path / "file")


def test_tensorflow_is_not_loaded_before_something_is_written():
    code = (
        "import sys, boxtune.convert, boxtune.draw, object_detection; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.shared
def test_real_photographs(shared, tmp_path):
    report = convert(shared / "data" / "voc" / "raccoon", tmp_path)
    assert [counts(report, part)[0] for part in ("train", "validation")] == [160, 40]
    assert sum(counts(report, part)[1]["raccoon"] for part in ("train", "validation")) == 217


def test_a_image_that_vanished_since_the_check_is_reported(photos, tmp_path):
    assert check(photos, Options(num_workers=1)).prepared.refusal == ""
    (photos / "4.jpg").unlink()
    report = convert(photos, tmp_path / "out")
    assert [f.file for f in report.prepared.findings if f.kind.name == "image not found"] == [
        "4.xml",
        "lost.xml",
    ]
    assert len(ids(tmp_path / "out", "train") | ids(tmp_path / "out", "validation")) == 9


def test_a_image_that_vanishes_meanwhile_ends_it_cleanly(photos, tmp_path, monkeypatch):
    prepare = verb.prepare

    def prepare_and_remove(*arguments):
        prepared = prepare(*arguments)
        (photos / "4.jpg").unlink()
        return prepared

    monkeypatch.setattr(verb, "prepare", prepare_and_remove)
    with pytest.raises(DataError, match=r"4\.jpg: it cannot be read"):
        convert(photos, tmp_path / "out")
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize("to", ["tfrecord", "voc", "coco", "yolo"])
def test_a_full_disk_ends_it_cleanly(photos, tmp_path, to):
    """The kernel refuses files of more than 500 bytes."""
    out = tmp_path / "out"
    code = (
        "import resource, sys; from boxtune import cli;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500));"
        f"sys.exit(cli.main(['convert', {str(photos)!r}, '--output_dir', {str(out)!r}, '--to', {to!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "cannot be written: File too large" in done.stderr
    assert not [path for path in out.rglob("*") if path.suffix == ".partial"]
    assert not list(out.glob("*.tfrecord"))


def test_a_folder_without_permission_is_an_error(photos, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(DataError, match="out cannot be written to: Permission denied"):
        convert(photos, tmp_path / "out")


# Other formats


@pytest.mark.parametrize("to", ["voc", "coco", "yolo"])
def test_another_format_is_written_part_by_part_and_read_again(photos, tmp_path, to):
    report = convert(photos, tmp_path / "out", to=to)
    assert {"train", "validation", "label_map.pbtxt", "report.json"} == set(names(tmp_path / "out"))
    assert all((tmp_path / "out" / name).is_file() for part in report.files.values() for name in part)
    again = convert(tmp_path / "out", tmp_path / "again")
    for part in ("train", "validation"):
        assert counts(again, part) == counts(report, part)


@pytest.mark.parametrize("to", ["voc", "coco", "yolo"])
def test_one_part_needs_no_folder_of_its_own(photos, tmp_path, to):
    convert(photos, tmp_path / "out", to=to, validation_fraction=0.0)
    assert "train" not in names(tmp_path / "out")
    assert counts(convert(tmp_path / "out", tmp_path / "again", validation_fraction=0.0), "train")[0] == 10


def test_folders_do_not_pile_up_from_format_to_format(photos, tmp_path):
    convert(photos, tmp_path / "one", to="coco")
    convert(tmp_path / "one", tmp_path / "two", to="yolo")
    images = [path.relative_to(tmp_path / "two").as_posix() for path in tmp_path.glob("two/**/*.jpg")]
    assert {path.rpartition("/")[0] for path in images} == {"train/images", "validation/images"}


def test_nothing_is_written_over(photos, tmp_path):
    with pytest.raises(DataError, match="is not empty"):
        convert(photos, photos, to="voc", validation_fraction=0.0)


def test_a_format_that_cannot_be_written_is_an_error(photos, tmp_path):
    with pytest.raises(
        DataError, match='"via" cannot be written; tfrecord, voc, coco, yolo, label_studio can'
    ):
        convert(photos, tmp_path / "out", to="via")


def test_two_workers_write_the_same_bytes(tmp_path):
    for number in range(600):
        annotated(tmp_path / "photos", f"{number}")
    contents = []
    for num_workers in (1, 2):
        out = tmp_path / f"{num_workers}"
        verb.convert(tmp_path / "photos", out, Options(num_workers=num_workers))
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert contents[0] == contents[1]
    assert len(contents[0]) > 4


class TestKeptSplit:
    @pytest.fixture
    def before(self, photos, tmp_path):
        """A folder of records of ten images."""
        convert(photos, tmp_path / "records")
        return tmp_path / "records"

    def test_lists_name_the_images_of_each_part(self, photos, before, tmp_path):
        for part in ("train", "validation"):
            assert set((before / f"{part}.list").read_text().splitlines()) == ids(before, part)
        again = tmp_path / "again"
        convert(photos, again, validation_files=before / "validation.list", seed=5)
        assert ids(again, "validation") == ids(before, "validation")

    def test_what_was_there_stays_when_images_are_added(self, photos, before):
        validation = ids(before, "validation")
        for number in range(10, 30):
            image_file(photos / f"{number}.jpg", seed=number)
            annotation(photos / f"{number}.xml", element("cat"))
        report = convert(photos, before, seed=3)
        assert ids(before, "validation") & {f"{number}.jpg" for number in range(10)} == validation
        assert len(ids(before, "validation")) == 6  # a fifth of thirty
        assert "8 images for training and 2 for validation stay there" in str(report)
        assert "new: 20" in str(report)

    def test_a_renamed_image_stays_by_its_content_and_a_changed_one_by_its_name(self, photos, before):
        renamed, changed = sorted(ids(before, "validation"))
        for ending in ("jpg", "xml"):
            stem = renamed.removesuffix(".jpg")
            (photos / f"{stem}.{ending}").rename(photos / f"other.{ending}")
        image_file(photos / changed, seed=77)
        convert(photos, before)
        assert ids(before, "validation") == {"other.jpg", changed}

    def test_a_new_class_is_measured_too(self, photos, before):
        """Two new images of twelve, one of them for validation, although two of ten already are."""
        for number in (10, 11):
            image_file(photos / f"{number}.jpg", seed=number)
            annotation(photos / f"{number}.xml", element("horse"))
        convert(photos, before)
        assert len(ids(before, "validation") & {"10.jpg", "11.jpg"}) == 1

    def test_one_more_image_goes_where_the_fraction_wants_it(self, photos, before):
        for number in (10, 11, 12):  # 11 and 12 images: still two for validation; 13: 2.6
            image_file(photos / f"{number}.jpg", seed=number)
            annotation(photos / f"{number}.xml", element("cat"))
            convert(photos, before)
            assert len(ids(before, "validation")) == (3 if number == 12 else 2)

    def test_another_split_is_drawn_only_if_it_is_asked_for(self, photos, before):
        validation = ids(before, "validation")
        convert(photos, before, seed=1)
        assert ids(before, "validation") == validation
        convert(photos, before, validation_fraction=0.4)
        assert len(ids(before, "validation")) == 4
        convert(photos, before, validation_fraction=0.4, seed=1, new_split=True)
        assert len(ids(before, "validation") - validation) > 0

    def test_a_split_without_validation_is_refused(self, photos, before):
        for name in ids(before, "validation"):
            (photos / name).unlink()
            (photos / name).with_suffix(".xml").unlink()
        with pytest.raises(DataError, match=r"leaves 8 images for training and 0 .* --new_split"):
            convert(photos, before)

    @pytest.mark.parametrize(
        "damage",
        [
            "{",
            "[]",
            '{"parts": {}}',
            '{"validation_fraction": null, "parts": {"train": 3}}',
            '{"validation_fraction": null, "parts": {"trian": {}}}',
            '{"validation_fraction": null, "parts": {"train": {"a": {}}}}',
            '{"validation_fraction": "x", "parts": {}}',
        ],
    )
    def test_a_damaged_file_is_named(self, photos, before, damage):
        (before / "split.json").write_text(damage)
        with pytest.raises(DataError, match=r"split.json is damaged.*validation.list.*--new_split"):
            convert(photos, before)


class TestTiles:
    """Images of 40 x 20 pixels, cut into two tiles of 32 x 20."""

    CUTTING = Cutting(Tiling(32))

    @pytest.fixture
    def few(self, tmp_path):
        """Five images: a cat from column 4 to 20, which one tile shows whole, the other 12 of 16 columns of."""
        for number in range(5):
            annotated(tmp_path / "photos", f"{number}", element("cat"), element("dog", 34, 2, 40, 8))
        return tmp_path / "photos"

    def test_are_written_beside_the_whole_and_counted(self, few, tmp_path):
        out = tmp_path / "out"
        report = convert(few, out, cutting=self.CUTTING)
        assert names(out) == sorted([*FILES, "whole-00000-of-00001.tfrecord"])
        assert {part: len(ids(out, part)) for part in ("train", "validation", "whole")} == {
            "train": 12, "validation": 3, "whole": 1,
        }  # fmt: skip
        (name,) = ids(out, "whole")
        stem = name.removesuffix(".jpg")
        assert ids(out, "validation") == {name, f"{stem}_y0_x0_32x20.jpg", f"{stem}_y0_x8_32x20.jpg"}
        assert (out / "validation.list").read_text() == f"{name}\n"
        content = json.loads((out / "report.json").read_text())
        assert {key: content["tiles"][key] for key in ("tile", "overlap", "min_visible")} == {
            "tile": 32, "overlap": 0.2, "min_visible": 0.5,
        }  # fmt: skip
        assert content["tiles"]["parts"]["train"] == {
            "images": 4, "cut": 4, "tiles": 8, "background": 0, "background_left_out": 0,
            "objects": 8, "cut_objects": 4, "ignored": 0, "only_whole": 0, "too_small": 0,
        }  # fmt: skip
        assert content["parts"]["train"]["images"] == 12
        assert "train: 4 of 4 images became 8 tiles beside the whole (0 without an object); objects" in str(
            report
        )

    def test_records_are_those_that_were_planned(self, few, tmp_path):
        convert(few, tmp_path / "out", cutting=self.CUTTING)
        for raw in records(tmp_path / "out", "train"):
            features = tf.train.Example.FromString(raw.numpy()).features.feature
            image = tf.io.decode_image(features["image/encoded"].bytes_list.value[0])
            sides = [features[f"image/{side}"].int64_list.value[0] for side in ("height", "width")]
            assert image.shape == (*sides, 3)
            assert sides in ([20, 40], [20, 32])

    def test_the_same_call_gives_the_same_and_images_stay_in_their_part(self, few, tmp_path):
        convert(few, tmp_path / "out", cutting=self.CUTTING)
        before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        convert(few, tmp_path / "out", cutting=self.CUTTING)
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
        validation = ids(tmp_path / "out", "whole")
        convert(few, tmp_path / "out")
        assert "whole-00000-of-00001.tfrecord" not in names(tmp_path / "out")
        assert ids(tmp_path / "out", "validation") == validation

    @pytest.mark.parametrize("to", ["voc", "coco", "yolo"])
    def test_are_written_in_every_format(self, few, tmp_path, to):
        dogs_cut = Cutting(Tiling(32), 0.9)  # 12 of 16 columns of a cat are not enough
        report = convert(few, tmp_path / "out", to=to, cutting=dogs_cut)
        assert {part: len(files) for part, files in report.files.items()} == {
            "train": 12, "validation": 3, "whole": 1,
        }  # fmt: skip
        found = check(tmp_path / "out" / "validation", Options(num_workers=1)).prepared
        objects = sorted((item.class_name, item.is_crowd) for image in found.images for item in image.objects)
        cats = [("cat", False)] * 2 + [("cat", True)] * (to == "coco")  # what a format cannot say is left out
        assert objects == sorted([*cats, ("dog", False), ("dog", False)])

    def test_larger_than_all_images_are_told(self, few, tmp_path):
        report = convert(few, tmp_path / "out", cutting=Cutting(Tiling(64)))
        assert "warning: no image larger than a tile (2): keep." in str(report)
        assert "train: none of 4 images is larger than 64 pixels." in str(report)
        assert names(tmp_path / "out") == FILES


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tile", "7"], "--tile is 7: give the side"),
        (["--tile", "640", "--overlap", "1"], "--overlap is 1.0: give the fraction"),
        (["--tile", "640", "--min_visible", "0"], "--min_visible is 0.0: give the fraction"),
        (["--min_visible", "0.5"], "--min_visible goes with --tile"),
        (["--overlap", "0.5"], "--overlap 0.5 goes with --tile"),
    ],
)
def test_flags_of_tiles_that_cannot_be(tmp_path, capsys, flags, said):
    assert cli.main(["convert", str(tmp_path), "--output_dir", str(tmp_path / "out"), *flags]) == 2
    assert said in capsys.readouterr().err
