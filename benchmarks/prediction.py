"""How fast `boxtune predict` is, reading and writing included, how soon it begins, and what memory it takes.

    python benchmarks/prediction.py MODEL IMAGES [--num_images 10000] [--side 320]

MODEL is what `boxtune export` or `retrain` wrote, IMAGES a folder of images, which are looked at again and again, by
links of other names, until there are so many. With --side, copies of that width and height are made of them first.
Memory is the resident set of the process, looked at every thousand images.
"""

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from PIL import Image

from boxtune.data.images import SUFFIXES

EVERY = 1000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--num_images", type=int, default=1000)
    parser.add_argument("--side", type=int)
    options = parser.parse_args()
    paths = [path for path in sorted(options.images.rglob("*")) if path.suffix.lower() in SUFFIXES]
    if not paths:
        parser.error(f"{options.images}: no images here")

    start = time.perf_counter()
    import tensorflow  # noqa: F401 - its loading is not ours

    print(f"loading TensorFlow: {time.perf_counter() - start:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        names = linked(paths, Path(folder) / "images", options.num_images, options.side)
        run(options.model, names, Path(folder) / "drawn")


def linked(paths: Sequence[Path], folder: Path, number: int, side: int | None) -> list[Path]:
    """Return so many images, links to those of `paths`, or to copies of them with this side."""
    folder.mkdir()
    if side:
        resized = []
        for i, path in enumerate(paths):
            with Image.open(path) as image:
                resized.append(folder / f"resized-{i}.jpg")
                image.convert("RGB").resize((side, side)).save(resized[-1], quality=90)
        paths = resized
    links = [folder / f"{i:06}{path.suffix}" for i, path in enumerate(islice(cycle(paths), number))]
    for link, path in zip(links, cycle(paths), strict=False):
        link.symlink_to(path.resolve())
    return links


def run(model: Path, images: Sequence[Path], output_dir: Path) -> None:
    """Predict images, and print seconds, images/s and memory."""
    from boxtune.detection_writers import JsonWriter
    from boxtune.predict import predict

    times: list[float] = []
    memory: list[int] = []
    add = JsonWriter.add

    def timed(writer: JsonWriter, detected: object) -> None:
        add(writer, detected)
        times.append(time.perf_counter())
        if len(times) % EVERY == 1:
            memory.append(resident_mib())

    JsonWriter.add = timed  # type: ignore[method-assign]
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        found = predict(model, images, output_dir, to=["csv"])
    seconds = time.perf_counter() - start
    print(f"{found}")
    print(f"first image written after {times[0] - start:.1f} s, loading the model included")
    print(
        f"{len(images) / seconds:.1f} images/s in all, {(len(times) - 1) / (times[-1] - times[0]):.1f} after the first"
    )
    print(f"MiB every {EVERY} images: {', '.join(map(str, [*memory, resident_mib()]))}")


def resident_mib() -> int:
    """Return the resident set of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


if __name__ == "__main__":
    main()
