"""Changes the files that boxtune reads at random, for some time: whatever they hold, a reader fails in its own words.

    python tests/hostile/fuzz.py [--seconds 30] [--seed 0] [--only NAME]

Hypothesis draws the changes and makes those that show a fault as few as it can. The file that shows it is kept in
`found/`; every file there is read by a test from then on.
"""

import argparse
import faulthandler
import hashlib
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import boxtune  # noqa: F401 - before TensorFlow: it switches oneDNN on

# isort: split
import numpy as np
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from boxtune import config
from boxtune.convert import convert
from boxtune.data import pixels, recognition
from boxtune.data.input import naming_faults, open_records
from boxtune.data.label_map import read_label_map
from boxtune.data.preparation import Options
from boxtune.data.reading import read
from boxtune.errors import BoxtuneError
from boxtune.metrics.coco_results import read_detections
from boxtune.report.evaluation import read_evaluation
from boxtune.training import checkpoints, provenance
from boxtune.training.loggers import read_journal
from boxtune.training.validation import read_best
from image_results import image_result

SEEDS, FOUND = Path(__file__).parent / "seeds", Path(__file__).parent / "found"
EXAMPLES = 20  # of a file before the next one has its turn
_PATIENCE = 600

POSITIONS = st.floats(0, 1, exclude_max=True)
TOKENS = [
    b"", b"\0", b"\xff", b"-1", b"0", b"1e400", b"nan", b"99999999999999999999", b"null", b"{}", b"[]", b"[" * 2000,
    b'"', b"'", b"\\", b"\n", b"<", b"&x;", b"..", b"/", b"\x1b[2J", "\u202e".encode(), b"\xed\xa0\x80", b"#", b",",
]  # fmt: skip
CHANGES = st.one_of(
    st.tuples(st.just("set"), POSITIONS, st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("put"), POSITIONS, st.sampled_from(TOKENS)),
    st.tuples(st.just("take"), POSITIONS, st.integers(1, 64)),
    st.tuples(st.just("repeat"), POSITIONS, st.integers(1, 64)),
    st.tuples(st.just("cut"), POSITIONS, st.none()),
)


def changed(content: bytes, changes: list[tuple[str, float, object]]) -> bytes:
    """Return a file with changes made one after another."""
    for kind, position, value in changes:
        start = int(position * len(content))
        before, behind = content[:start], content[start:]
        match kind, value:
            case "set", bytes():
                content = before + value + behind[len(value) :]
            case "put", bytes():
                content = before + value + behind
            case "take", int():
                content = before + behind[value:]
            case "repeat", int():
                content = before + behind[:value] * 3 + behind[value:]
            case _:
                content = before
    return content


class Target:
    """A file and the reader of it."""

    def __init__(self, name: str, path: Path, read: Callable[[Path], object]):
        """`path` is in a folder of its own, with all that the reader needs besides."""
        self.name, self.path, self.read = name, path, read
        self.content = path.read_bytes()

    def survives(self, content: bytes) -> None:
        """Read the file with this content; raise what no user should see."""
        self.path.write_bytes(content)
        try:
            self.read(self.path)
        except BoxtuneError:
            return


def targets(folder: Path) -> Iterator[Target]:
    """Yield all files, which are made in a folder."""
    image = Image.fromarray(np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3))
    for one in recognition.FORMATS:
        if one.name != "tfrecord":
            data_set = shutil.copytree(SEEDS / one.name, folder / one.name)
            image.save(data_set / "a.jpg")
            for path in sorted(path for path in data_set.rglob("a.*") if path.suffix != ".jpg"):
                yield Target(one.name, path, _as(one.name, data_set))
    yolo = shutil.copytree(folder / "yolo", folder / "yolo.yaml")
    yield Target("data.yaml", yolo / "data.yaml", _as("yolo", yolo))
    lists = shutil.copytree(folder / "voc", folder / "lists")
    (lists / "ImageSets" / "Main").mkdir(parents=True)
    listed = shutil.copy(SEEDS / "train.txt", lists / "ImageSets" / "Main" / "train.txt")
    yield Target("train.txt", Path(listed), _as("voc", lists))
    for suffix in ("jpg", "png", "gif", "bmp", "webp", "tiff", "tga", "avif"):
        path = folder / f"images.{suffix}"
        image.save(path)
        yield Target(path.name, path, lambda path: pixels.rgb(path.read_bytes()))
    yield from _texts(folder)
    yield from _records(folder)
    yield from _checkpoints(folder)


def _as(name: str, folder: Path) -> Callable[[Path], object]:
    return lambda path: read(folder, format_name=name, num_workers=1)


def _texts(folder: Path) -> Iterator[Target]:
    readers: dict[str, Callable[[Path], object]] = {
        "pipeline.config": config.load,
        "label_map.pbtxt": read_label_map,
        "metrics.jsonl": lambda path: read_journal(path, 10),
        "best/best.json": lambda path: read_best(path.parent.parent),
        "detections.json": lambda path: read_detections(
            path, [image_result(name="a")], categories={1: 0}, image_ids={1: "a"}
        ),
        "run.json": provenance.read,
        "evaluation.json": read_evaluation,
    }
    for name, reader in readers.items():
        path = folder / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SEEDS / path.name, path)
        yield Target(path.name, path, reader)


def _records(folder: Path) -> Iterator[Target]:
    data_set = shutil.copytree(folder / "voc", folder / "converted")
    records = convert(data_set, folder / "records", Options(validation_fraction=0.0)).output_dir
    path = next(records.glob("train-*"))
    reader = config.parse(
        f"""train_input_reader {{ label_map_path: "{records / "label_map.pbtxt"}"
        tf_record_input_reader {{ input_path: "{path}" }} }}""",
        "fuzz",
    ).train_input_reader

    def read_all(path: Path) -> None:
        opened = open_records(reader, 2)
        with naming_faults(opened):
            for number in range(len(opened.index)):
                opened.parse(opened.index.read(number))

    yield Target("record", path, read_all)


def _checkpoints(folder: Path) -> Iterator[Target]:
    (folder / "model").mkdir()
    prefix = checkpoints.tree({"a/b": tf.Variable(tf.range(20.0)), "c": tf.Variable(1)}).write(
        str(folder / "model" / "ckpt-1")
    )
    (folder / "model" / "checkpoint").write_text('model_checkpoint_path: "ckpt-1"\n')

    def read_all(path: Path) -> None:
        reader = checkpoints.Reader(checkpoints.find(folder / "model"))
        for key in reader.shapes:
            reader[key]

    for suffix in (".index", ".data-00000-of-00001"):
        yield Target(f"ckpt{suffix}", Path(prefix + suffix), read_all)
    yield Target("checkpoint", folder / "model" / "checkpoint", read_all)


def fuzz(target: Target, number: int) -> None:
    """Try some changes of a file; a file that shows a fault is kept."""

    @seed(number)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(CHANGES, min_size=1, max_size=4))
    def try_changes(changes: list[tuple[str, float, object]]) -> None:
        content = changed(target.content, changes)
        try:
            target.survives(content)
        except BaseException:
            last.append(content)
            raise

    last: list[bytes] = []
    try:
        try_changes()
    except BaseException:
        if last:
            kept = FOUND / f"{target.name}-{hashlib.sha256(last[-1]).hexdigest()[:8]}"
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(last[-1])
            print(f"Fault in {target.name}, with seed {number}: see {kept}", file=sys.stderr)
        raise
    finally:
        target.path.write_bytes(target.content)


def main() -> None:
    """Change one file after another until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0, help="the first; those that follow are tried as well")
    parser.add_argument("--only", default="", help="files whose names begin so")
    given_flags = parser.parse_args()
    end, num_changes = time.monotonic() + given_flags.seconds, 0
    faulthandler.dump_traceback_later(
        given_flags.seconds + _PATIENCE, exit=True
    )  # of a reader that never ends
    with tempfile.TemporaryDirectory() as name:
        all_targets = [one for one in targets(Path(name)) if one.name.startswith(given_flags.only)]
        for one in all_targets:
            one.read(one.path)  # unchanged it can be read
        turns = ((number, one) for number in itertools.count(given_flags.seed) for one in all_targets)
        for number, one in itertools.takewhile(lambda _: time.monotonic() < end, turns):
            fuzz(one, number)
            num_changes += EXAMPLES
    print(
        f"{num_changes} changes of {len(all_targets)} files, seeds {given_flags.seed} to {number}: no fault."
    )


if __name__ == "__main__":
    main()
