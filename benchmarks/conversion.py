"""The speed and memory of converting annotated photographs to TFRecords, with one worker and with two.

Prints for 1 and 2 workers the images a second of `boxtune convert`, with all that it does at its beginning and end,
and how many times faster two are. Then, for growing numbers of tiny images, the time of each image and the peak of
memory: of the largest process, and of all processes together (Linux only; what they share is counted once).

    python benchmarks/conversion.py [PHOTOS] [--num_images 4000] [--repeats 3] [--sizes 1000 10000 100000]

Without PHOTOS (an annotated folder of any format) it makes images of about 70 kB itself. Every measurement is a
process of its own, and the files are in the cache of the operating system. Making 100,000 tiny images takes half a
minute and 1 GB of disk.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import data_sets
from boxtune.data.tfrecord import RecordIndex

WORKERS = (1, 2)
SAMPLING_SECONDS = 0.1


@dataclass(frozen=True)
class Cost:
    """The time and memory of a conversion; peaks in bytes."""

    seconds: float
    largest_process: int
    all_processes: int

    @property
    def peaks(self) -> str:
        """The peaks of memory as text; the total of all processes is known on Linux only."""
        together = f", of all together {self.all_processes / 1e6:.0f} MB" if self.all_processes else ""
        return f"peak of the largest process {self.largest_process / 1e6:.0f} MB{together}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--num_images", type=int, default=4000, help="to make, where no folder is given")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos or data_sets.make(Path(folder) / "photos", options.num_images)
        compare_workers(photos, options.repeats)
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            grow(data_sets.make(Path(folder) / "tiny", size, data_sets.TINY), size)


def compare_workers(photos: Path, repeats: int) -> None:
    """Convert with each number of workers in turn, so that other load of the machine affects all."""
    convert(photos, num_workers=1)  # reads every file once
    rates: dict[int, list[float]] = {num_workers: [] for num_workers in WORKERS}
    for _ in range(repeats):
        for num_workers in WORKERS:
            cost, num_images = convert(photos, num_workers=num_workers)
            rates[num_workers].append(num_images / cost.seconds)
            print(f"{num_workers} workers {rates[num_workers][-1]:8.0f} images/s   {cost.peaks}", flush=True)
    one, two = (statistics.median(rates[num_workers]) for num_workers in WORKERS)
    print(
        f"median    {one:8.0f} and {two:.0f} images/s: two workers are {two / one:.2f} times as fast as one"
    )


def grow(photos: Path, size: int) -> None:
    """Convert `size` images and print the cost of each."""
    cost, num_images = convert(photos, num_workers=max(WORKERS))
    each = cost.seconds / num_images * 1e3
    print(f"{size:7} tiny images {cost.seconds:7.1f} s   {each:6.3f} ms each   {cost.peaks}", flush=True)


def convert(photos: Path, *, num_workers: int) -> tuple[Cost, int]:
    """Run the command line; return its cost and the number of images that it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "boxtune", "convert", photos, "--output_dir", folder]
        cost = measure([*map(str, command), "--num_workers", str(num_workers)])
        return cost, sum(map(num_records, Path(folder).glob("*.tfrecord")))


def measure(command: list[str]) -> Cost:
    """Run a command to its end; exit with its output if it fails."""
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        largest = together = 0
        while process.poll() is None:
            memory = [found for pid in family(process.pid) if (found := memory_of(pid))]
            largest = max([largest, *(peak for peak, _ in memory)])
            together = max(together, sum(share for _, share in memory))
            time.sleep(SAMPLING_SECONDS)
        seconds = time.perf_counter() - start
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{output.read()}")
    return Cost(seconds, largest, together)


def family(pid: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has ended
            for child in path.read_text().split():
                yield from family(int(child))


def memory_of(pid: int) -> tuple[int, int] | None:
    """Return the peak memory of a process so far and its proportional memory, in bytes; None if it has ended."""
    try:
        peak = _field(Path(f"/proc/{pid}/status"), "VmHWM")
        return peak, _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss")
    except (OSError, StopIteration):
        return None


def _field(path: Path, name: str) -> int:
    """Return a field, which is in kB, of a file of the process file system."""
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def num_records(path: Path) -> int:
    """Return how many records a TFRecord file has."""
    with RecordIndex([path]) as index:
        return len(index)


if __name__ == "__main__":
    main()
