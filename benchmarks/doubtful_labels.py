"""How many damaged labels `boxtune check --model` finds: a known part of the labels is damaged, a model trained on all.

    python benchmarks/doubtful_labels.py PHOTOS CHECKPOINT [--damage removed moved renamed added] [--folds 2]
                                         [--fraction 0.05] [--num_steps 150] [--seed 0] [--keep FOLDER]

PHOTOS holds Pascal VOC XML. For each kind of damage a copy of it is made in which 5 % of the labels are removed, moved
(by 30 to 50 % of their size, in any direction), given another class of the set, or stand for nothing (as many are
added); `all` is every kind at once. A model is trained on the copy, and then doubts labels of all of it. A damaged
label is found if it is doubted itself, or if the model's box for a missing one overlaps the true box by IoU 0.5 or
more. What is printed is how many are among the first 5, 10 and 20 % of the list, as fractions of the number of labels.

With `--folds` several models are trained, each without one part of the images, and each part is doubted by the model
that has not seen it.
"""

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

KINDS = ("removed", "moved", "renamed", "added")
LISTED = (0.05, 0.1, 0.2)
EDGES = ("xmin", "ymin", "xmax", "ymax")
ATTEMPTS = 50

Box = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax in pixels


@dataclass(frozen=True)
class Damage:
    """What was done to a label: in which image (its stem), and its box before and after, as far as there is one."""

    kind: str
    image: str
    before: Box | None
    after: Box | None


def main() -> None:
    """Damage, train, check, and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--damage", nargs="+", choices=[*KINDS, "all"], default=list(KINDS))
    parser.add_argument("--fraction", type=float, default=0.05, help="of the labels, for each kind")
    parser.add_argument("--num_steps", type=int, default=150)
    parser.add_argument("--folds", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="for the damaged sets, the models and the reports")
    options = parser.parse_args()
    print(f"{'damage':14}{'labels':>8}" + "".join(f"{f'first {part:.0%}':>12}" for part in LISTED))
    for damage in options.damage:
        with tempfile.TemporaryDirectory() as made:
            folder = (options.keep or Path(made)) / damage
            one_damage(damage, folder, options)


def one_damage(damage: str, folder: Path, options: argparse.Namespace) -> None:
    """Damage a copy in one way, train on it, check it, and print a line for each kind of damage."""
    kinds = KINDS if damage == "all" else (damage,)
    photos = folder / "photos"
    if not photos.exists():
        shutil.copytree(options.photos, photos)
        done = damage_labels(photos, kinds, options.fraction, random.Random(options.seed))
        (folder / "damage.json").write_text(json.dumps([vars(one) for one in done]))
    done = [Damage(**one) for one in json.loads((folder / "damage.json").read_text())]
    if not done:
        print(f"{damage:14}{0:8}   cannot be done to these labels")
        return
    doubts = doubts_of(photos, folder, options)
    num_labels = sum(len(objects_of(path)) for path in photos.rglob("*.xml"))
    for kind in kinds:
        name = kind if damage == kind else f"{damage}: {kind}"
        of_kind = [one for one in done if one.kind == kind]
        found = [sum(is_found(one, doubts[: round(part * num_labels)]) for one in of_kind) for part in LISTED]
        numbers = (f"{count:>4} ({count / max(1, len(of_kind)):4.0%})" for count in found)
        print(f"{name:14}{len(of_kind):8}" + "".join(f"{number:>12}" for number in numbers), flush=True)


def doubts_of(photos: Path, folder: Path, options: argparse.Namespace) -> list[dict]:
    """Train one model, or one for each fold, and return the doubts, the strongest first."""
    numbers = range(1, (options.folds or 0) + 1)
    folds = [(f"fold {i}", ("--folds", str(options.folds), "--fold", str(i))) for i in numbers]
    models = []
    for name, split in folds or [("model", ())]:
        models += ["--model", str(folder / name)]
        command = [
            *("retrain", str(photos), "--model_dir", str(folder / name), "--checkpoint", str(options.checkpoint)),
            *("--num_steps", str(options.num_steps), "--seed", str(options.seed), "--evaluate_every_n", "0", *split),
        ]  # fmt: skip
        if not (folder / name / "results.json").exists():
            run(command)
    report = folder / "report.json"
    run(["check", str(photos), *models, "--report", str(report)])
    return json.loads(report.read_text())["doubts"]["labels"]


def run(arguments: list[str]) -> None:
    """Run boxtune in a process of its own."""
    subprocess.run([sys.executable, "-m", "boxtune", *arguments], check=True, stdout=subprocess.DEVNULL)


def damage_labels(photos: Path, kinds: tuple[str, ...], fraction: float, rng: random.Random) -> list[Damage]:
    """Damage a fraction of the labels in each of some ways, each label in one way at most; return what was done."""
    trees = {path: ElementTree.parse(path) for path in sorted(photos.rglob("*.xml"))}
    labels = [(path, item) for path, tree in trees.items() for item in tree.getroot().findall("object")]
    classes = sorted({item.findtext("name", "") for _, item in labels})
    boxes = [box_of(item) for _, item in labels]
    number, done = round(fraction * len(labels)), []
    chosen = iter(rng.sample(labels, len(labels)))
    for kind in kinds:
        for path, item in [next(chosen) for _ in range(number)]:
            root, name, box = trees[path].getroot(), path.stem, box_of(item)
            if kind == "removed":
                root.remove(item)
                done.append(Damage(kind, name, box, None))
            elif kind == "moved":
                set_box(item, moved(box, size_of(root), rng))
                done.append(Damage(kind, name, box, box_of(item)))
            elif kind == "renamed" and len(classes) > 1:
                item.find("name").text = rng.choice([one for one in classes if one != item.findtext("name")])
                done.append(Damage(kind, name, box, box))
            elif kind == "added" and (free := free_place(root, rng.choice(boxes), rng)):
                new = ElementTree.SubElement(root, "object")
                ElementTree.SubElement(new, "name").text = item.findtext("name")
                set_box(new, free)
                done.append(Damage(kind, name, None, box_of(new)))
    for path, tree in trees.items():
        tree.write(path)
    return done


def moved(box: Box, size: tuple[int, int], rng: random.Random) -> Box:
    """Return a box moved by 30 to 50 % of its size in any direction, cut to the image."""
    xmin, ymin, xmax, ymax = box
    distance = rng.uniform(0.3, 0.5)
    angle = rng.uniform(0, 2 * math.pi)
    x, y = distance * math.cos(angle) * (xmax - xmin), distance * math.sin(angle) * (ymax - ymin)
    width, height = size
    return max(1, xmin + x), max(1, ymin + y), min(width, xmax + x), min(height, ymax + y)


def free_place(root: ElementTree.Element, box: Box, rng: random.Random) -> Box | None:
    """Return a place for a box of that size where it overlaps no label by IoU 0.3, None if none was found."""
    width, height = size_of(root)
    sides = min(box[2] - box[0], width - 1), min(box[3] - box[1], height - 1)
    labels = [box_of(item) for item in root.findall("object")]
    for _ in range(ATTEMPTS):
        x, y = rng.uniform(1, width - sides[0]), rng.uniform(1, height - sides[1])
        place = x, y, x + sides[0], y + sides[1]
        if all(iou(place, label) < 0.3 for label in labels):
            return place
    return None


def is_found(damage: Damage, doubts: list[dict]) -> bool:
    """Say whether one of some doubts is about a damaged label."""
    for doubt in doubts:
        if Path(doubt["image"]).stem != damage.image:
            continue
        if (
            doubt["kind"] == "missing"
            and damage.before
            and iou(edges(doubt["seen"]["box"]), damage.before) >= 0.5
        ):
            return True
        if doubt["kind"] != "missing" and damage.after and iou(edges(doubt["box"]), damage.after) > 0.95:
            return True
    return False


def iou(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (area - shared) if area > shared else 0.0


def edges(box: dict) -> Box:
    """Return a box of a report."""
    return tuple(box[edge] for edge in EDGES)


def size_of(root: ElementTree.Element) -> tuple[int, int]:
    """Return width and height of an image as its annotation has them."""
    return tuple(round(float(root.findtext(f"size/{side}", "0"))) for side in ("width", "height"))


def objects_of(path: Path) -> list[ElementTree.Element]:
    """Return the objects of an annotation."""
    return ElementTree.parse(path).getroot().findall("object")


def box_of(item: ElementTree.Element) -> Box:
    """Return the box of an object."""
    return tuple(float(item.findtext(f"bndbox/{edge}", "0")) for edge in EDGES)


def set_box(item: ElementTree.Element, box: Box) -> None:
    """Give an object a box."""
    bounds = item.find("bndbox")
    bounds = ElementTree.SubElement(item, "bndbox") if bounds is None else bounds
    for edge, value in zip(EDGES, box, strict=True):
        part = bounds.find(edge)
        part = ElementTree.SubElement(bounds, edge) if part is None else part
        part.text = str(round(value))


if __name__ == "__main__":
    main()
