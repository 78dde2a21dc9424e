"""The example that counts objects crossing a line: discs of known ways in a video that is drawn here."""

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw

import boxtune
import count_crossings
from boxtune.data.formats import voc
from boxtune.data.image_record import Box, ImageRecord, ImageSource, ObjectRecord
from boxtune.evaluation.found import Source
from boxtune.load import ImageDetections
from boxtune.training.early_stopping import EvaluationOptions

pytestmark = [
    pytest.mark.filterwarnings("ignore:OpenCV:UserWarning")
]  # supervision's, where it is not installed

WIDTH, HEIGHT, RADIUS = 320, 240, 20
COLORS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 40, 40), "yellow": (230, 220, 40)}
LINE = "0,120,320,120"

# Where the discs are in frame i: across the line and to the left of who looks along it is up.
WAYS = {
    "red": lambda i: (40, 30 + 5 * i),  # down
    "green": lambda i: (120, 210 - 5 * i),  # up
    "blue": lambda i: (200, 120 + abs(90 - 6 * i) - 45),  # from below to above and back
    "yellow": lambda i: (280, 60 + i % 3),  # stays
}
CROSSINGS = {"blue": (1, 1), "green": (1, 0), "red": (0, 1)}
FRAMES = 32


def picture(places):
    """Return an image with a disc of each class at its place."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (128, 128, 128))
    pen = ImageDraw.Draw(image)
    for name, (x, y) in places.items():
        pen.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), fill=COLORS[name])
    return image


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of discs that move."""
    path = tmp_path_factory.mktemp("video") / "discs.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 4_000_000
        for number in range(FRAMES):
            frame = av.VideoFrame.from_image(picture({name: way(number) for name, way in WAYS.items()}))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class ColorModel:
    """Finds discs by their colors, with a fainter detection beside each."""

    def stream(self, images, *, min_score):
        assert min_score == count_crossings.FAINT
        for number, image in enumerate(images):
            yield self.found(Source(f"frame {number}", image, None), image.astype(int))

    def found(self, source, image):
        distances = np.abs(image[..., None, :] - list(COLORS.values())).sum(-1)
        boxes = []
        for number in range(len(COLORS)):
            ys, xs = np.nonzero(distances[..., number] < 100)
            boxes.append([ys.min(), xs.min(), ys.max() + 1, xs.max() + 1])
        boxes = np.array(boxes, np.float32)
        count = len(COLORS)
        return ImageDetections(
            source, HEIGHT, WIDTH,
            boxes=np.concatenate([boxes, boxes + 30]),
            classes=np.tile(np.arange(count), 2),
            names=[*COLORS, *COLORS],
            scores=np.repeat(np.float32([0.9, 0.2]), count),
        )  # fmt: skip


def test_each_crossing_is_counted_once(video):
    ends = count_crossings.line(LINE)
    assert count_crossings.count_crossings(ColorModel(), video, ends) == CROSSINGS


def test_the_other_way_along_the_line(video):
    ends = count_crossings.line("320,120,0,120")
    there = {name: (left, right) for name, (right, left) in CROSSINGS.items()}
    assert count_crossings.count_crossings(ColorModel(), video, ends) == there


def test_the_command(video, monkeypatch, capsys):
    monkeypatch.setattr(boxtune, "load", lambda path: ColorModel())
    count_crossings.main(["mine", str(video), "--line", LINE])
    assert capsys.readouterr().out.splitlines() == [
        "blue: 1 to the left, 1 to the right",
        "green: 1 to the left, 0 to the right",
        "red: 0 to the left, 1 to the right",
    ]
    count_crossings.main(["mine", str(video), "--line", "0,235,320,235"])
    assert capsys.readouterr().out == "Nothing has crossed the line.\n"


def annotated_picture(folder, number):
    """Write an image with discs at random places, and its annotation."""
    rng = np.random.default_rng(number)
    places = {
        name: (40 + 80 * column, int(rng.integers(RADIUS, HEIGHT - RADIUS)))
        for column, name in enumerate(rng.permutation(list(COLORS)))
    }
    path = folder / f"{number:03d}.png"
    picture(places).save(path)
    objects = tuple(
        ObjectRecord(
            name,
            Box((y - RADIUS) / HEIGHT, (x - RADIUS) / WIDTH, (y + RADIUS) / HEIGHT, (x + RADIUS) / WIDTH),
        )
        for name, (x, y) in places.items()
    )
    record = ImageRecord(path.name, ImageSource(path), "", WIDTH, HEIGHT, objects)
    path.with_suffix(".xml").write_text(voc.to_xml(record, path), encoding="utf-8")


@pytest.mark.thorough
def test_a_detector_that_was_trained(video, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(100):
        annotated_picture(tmp_path / "photos", number)
    result = boxtune.retrain(
        tmp_path / "photos", tmp_path / "mine", num_steps=300,
        evaluation_options=EvaluationOptions(every_n=0),
        overrides=[
            "model.image_resizer.fixed_shape_resizer={height: 160 width: 160}",
            "model.feature_extractor.depth_multiplier=0.5",
        ],
    )  # fmt: skip
    assert result.ap50 > 0.9
    model = boxtune.load(tmp_path / "mine")
    assert count_crossings.count_crossings(model, video, count_crossings.line(LINE)) == CROSSINGS
