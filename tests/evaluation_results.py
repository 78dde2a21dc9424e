"""Evaluations as JSON, made by hand or at random, for what shows them."""

import base64
import io
import random

from PIL import Image, ImageDraw

from boxtune.metrics import error_kinds
from boxtune.report.evaluation_json import VERSION

KINDS = list(error_kinds.KINDS)
CORRECT, CLASS, LOCALIZATION, BOTH, DUPLICATE, BACKGROUND, IGNORED = range(7)
MAP, MAP50 = "DetectionBoxes_Precision/mAP", "DetectionBoxes_Precision/mAP@.50IOU"


def preview(width=200, height=100, boxes=(), tone=90):
    """Return a JPEG as a data URL: a ground with yellow rectangles."""
    image = Image.new("RGB", (width, height), (40, tone, 90))
    for ymin, xmin, ymax, xmax in boxes:
        ImageDraw.Draw(image).rectangle((xmin, ymin, xmax, ymax), fill=(220, 200, 60))
    file = io.BytesIO()
    image.save(file, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def groundtruth(*objects):
    """Return the groundtruth of an image, of tuples (box, class) or (box, class, crowd)."""
    rows = [(*item, 0)[:3] for item in objects]
    return {
        "box": [list(row[0]) for row in rows],
        "class": [row[1] for row in rows],
        "crowd": [row[2] for row in rows],
        "difficult": [0] * len(rows),
    }


def detections(*detections):
    """Return what was found, of tuples (box, class, score, match, confusion, kind, iou) of descending score."""
    keys = ("box", "class", "score", "match", "confusion", "kind", "iou")
    return {key: [list(row[n]) if n == 0 else row[n] for row in detections] for n, key in enumerate(keys)}


def image(name, there, seen, *, small=None, ap50=0.5, size=(200, 100)):
    return {
        "name": name,
        "width": size[0],
        "height": size[1],
        "preview": small,
        "AP50": ap50,
        "groundtruth": there,
        "detections": seen,
    }


def class_row(name, **numbers):
    return {
        "name": name,
        "num_objects": 0,
        "num_detections": 0,
        **dict.fromkeys(("AP", "AP50", "AP75", "AR100", "AP_interval")),
        **dict.fromkeys(("best_threshold", "precision", "recall", "f1")),
        **numbers,
    }


def evaluation(images, names, *, title="Owls", **changes):
    """Return an evaluation of `images`; its metrics are those of `changes`, or the same for all."""
    per_class = [
        class_row(name, AP=0.5, AP50=0.7, AP75=0.55, AR100=0.6, best_threshold=0.43) for name in names
    ]
    for item in images:
        for number in item["groundtruth"]["class"]:
            per_class[number]["num_objects"] += 1
        for number in item["detections"]["class"]:
            per_class[number]["num_detections"] += 1
    made = {
        "version": VERSION,
        "title": title,
        "step": 2000,
        "num_images": len(images),
        "num_objects": sum(row["num_objects"] for row in per_class),
        "classes": list(names),
        "metrics": {
            MAP: 0.652,
            MAP50: 0.871,
            "DetectionBoxes_Precision/mAP@.75IOU": 0.7,
            "DetectionBoxes_Precision/mAP (small)": -1,
            "DetectionBoxes_Recall/AR@100": 0.71,
        },
        "losses": {"Loss/total_loss": 0.41},
        "intervals": {MAP: [0.6, 0.7], MAP50: [0.83, 0.9]},
        "per_class": per_class,
        "curves": [curve(0.95 - 0.3 * n / max(len(names), 1)) for n in range(len(names))],
        "error_kinds": [
            {"kind": kind, "count": 3, "AP50_gain": 0.01 * n}
            for n, kind in enumerate([*KINDS[1:6], "missed"])
        ],
        "groups": {
            "size": group("small", "medium", "large"),
            "aspect": group("tall", "square", "wide"),
            "crowding": group("alone", "2 to 4", "5 or more"),
        },
        "calibration": {"error": 0.084, "bins": bins()},
        "images": images,
        "kinds": KINDS,
    }
    return made | changes


def curve(height, points=60):
    score = [round(0.99 - 0.96 * n / points, 6) for n in range(points)]
    return {
        "score": score,
        "precision": [round(height * (1 - (n / points) ** 3), 6) for n in range(points)],
        "recall": [round(height * (n / points) ** 0.5, 6) for n in range(points)],
    }


def group(*names):
    return [
        {"name": name, "num_objects": 40 * n, "recall": 0.3 * n if n else None, "AP50": 0.28 * n if n else -1}
        for n, name in enumerate(names)
    ]


def bins(number=10):
    return [
        {
            "low": n / number,
            "high": (n + 1) / number,
            "count": 90 - 9 * n,
            "mean_score": (n + 0.5) / number,
            "precision": ((n + 0.5) / number) ** 1.4,
        }
        for n in range(number)
    ]


def at_random(
    num_images, names, *, seed=0, num_detections=10, small=None, title="Random", groundtruth_seed=0
):
    """Return an evaluation of images with up to 4 objects each and `num_detections` detections."""
    rng, same = random.Random(seed), random.Random(groundtruth_seed)
    images = []
    for number in range(num_images):
        there = [(_box(same), same.randrange(len(names))) for _ in range(same.randrange(5))]
        scores = sorted((round(rng.random(), 6) for _ in range(num_detections)), reverse=True)
        free = list(range(len(there)))
        rows = [_detection(rng, there, free, score, len(names)) for score in scores]
        images.append(
            image(
                f"photos/{number:05}.jpg",
                groundtruth(*there),
                detections(*rows),
                small=small,
                ap50=round(rng.random(), 6),
            )
        )
    return evaluation(images, names, title=title)


def _box(rng):
    top, left = rng.uniform(0, 60), rng.uniform(0, 140)
    return tuple(round(v, 2) for v in (top, left, top + rng.uniform(8, 40), left + rng.uniform(8, 60)))


def _detection(rng, there, free, score, num_classes):
    """Return a detection of the first object that none has found yet, in one of several ways, or of nothing."""
    kind = rng.choice([CORRECT, CORRECT, CLASS, LOCALIZATION, BACKGROUND])
    if not free or kind == BACKGROUND:
        return (_box(rng), rng.randrange(num_classes), score, -1, -1, BACKGROUND, 0.0)
    target = free[0]
    (ymin, xmin, ymax, xmax), number = there[target]
    if kind == LOCALIZATION:
        return ((ymin, xmin, (ymin + ymax) / 2.2, xmax), number, score, -1, -1, LOCALIZATION, 0.3)
    if kind == CLASS and num_classes > 1:
        free.pop(0)
        return ((ymin, xmin, ymax, xmax), (number + 1) % num_classes, score, -1, target, CLASS, 0.9)
    free.pop(0)
    return ((ymin, xmin, ymax, xmax), number, score, target, target, CORRECT, 0.9)


A, B, C = (10, 10, 60, 60), (20, 100, 80, 180), (30, 120, 90, 190)
OWL, CAT, DOG = range(3)


def hand_drawn(**changes):
    """Return an evaluation of five images. At a threshold of 0.5: 2 correct, 3 wrong, 3 missed (of 5 objects)."""
    images = [
        image("photos/a.png", groundtruth((A, OWL)), detections((A, OWL, 0.9, 0, 0, CORRECT, 1)), ap50=1),
        image("photos/b.png", groundtruth((B, CAT)), detections((B, DOG, 0.8, -1, 0, CLASS, 1)), ap50=0),
        image(
            "photos/c.png",
            groundtruth((A, OWL), (C, DOG)),
            detections(
                (A, OWL, 0.95, 0, 0, CORRECT, 1),
                ((10, 10, 60, 50), OWL, 0.6, -1, -1, DUPLICATE, 0.8),
                ((30, 120, 54, 190), DOG, 0.45, -1, -1, LOCALIZATION, 0.4),
            ),
        ),
        image(
            "photos/d.png",
            groundtruth(),
            detections(((5, 5, 25, 25), CAT, 0.7, -1, -1, BACKGROUND, 0)),
            ap50=None,
        ),
        image(
            "photos/e.png",
            groundtruth((C, DOG, 1), (A, OWL)),
            detections((C, DOG, 0.65, 0, 0, IGNORED, 0)),
            ap50=0,
        ),
    ]
    for item in images:
        item["preview"] = preview(boxes=item["groundtruth"]["box"])
    return evaluation(images, ["owl", "cat", "dog"], title="Owls, now") | changes


def hand_drawn_before(**changes):
    """Return the run before on the same images: it finds b's cat, but not a's owl."""
    made = hand_drawn(title="Owls, before")
    by_name = {item["name"]: item for item in made["images"]}
    for name in ("a", "d", "e"):
        by_name[f"photos/{name}.png"]["detections"] = detections()
    by_name["photos/b.png"]["detections"] = detections((B, CAT, 0.9, 0, 0, CORRECT, 1))
    metrics = {tag: value - 0.02 if value >= 0 else value for tag, value in made["metrics"].items()}
    return made | {"metrics": metrics} | changes
