"""Annotated folders of any number of images, made quickly, for the other benchmarks.

The images are noise, so that no two are alike: coarse, as the eye sees a scene, and fine, which fills the file.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

PHOTO = (480, 360)
"""The size at which an image takes about 70 kB, like a small photograph."""
TINY = (64, 48)


def make(folder: Path, num_images: int, size: Sequence[int] = PHOTO) -> Path:
    """Write images of `size` (width, height) with Pascal VOC XML to ``images`` and ``annotations``."""
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    fine = rng.normal(0, 15, (size[1] + 64, size[0] + 64, 1))
    for number in range(num_images):
        name = f"{number:06d}"
        (folder / "images" / f"{name}.jpg").write_bytes(_picture(rng, size, fine))
        (folder / "annotations" / f"{name}.xml").write_text(_annotation(rng, size, f"{name}.jpg"))
    return folder


def _picture(rng: np.random.Generator, size: Sequence[int], fine: np.ndarray) -> bytes:
    """Return a JPEG: patches in colours of their own, and a part of the `fine` noise [h, w, 1]."""
    width, height = size
    patches = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    coarse = np.asarray(patches.resize((width, height), Image.Resampling.BICUBIC))
    top, left = rng.integers(0, 64, 2)
    pixels = np.clip(coarse + fine[top : top + height, left : left + width], 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _annotation(rng: np.random.Generator, size: Sequence[int], filename: str) -> str:
    """Return the XML of one to three objects of two classes."""
    width, height = size
    objects = ""
    for _ in range(rng.integers(1, 4)):
        left, top = rng.integers(1, width // 2), rng.integers(1, height // 2)
        right, bottom = rng.integers(left + 8, width), rng.integers(top + 8, height)
        objects += (
            f"<object><name>{rng.choice(['cat', 'dog'])}</name><difficult>0</difficult><bndbox><xmin>{left}</xmin>"
            f"<ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        )
    shape = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{filename}</filename>{shape}{objects}</annotation>"
