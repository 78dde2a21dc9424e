"""Small Pascal VOC folders for tests."""

import zlib
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image


def image_file(path: Path, *, width=40, height=20, mode="RGB", seed=None, **options) -> Path:
    """Save an image of noise; its format is that of the extension unless `format` says otherwise.

    Images of different names differ, unless they have the same `seed`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.name.encode()) if seed is None else seed)
    noise = rng.integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **options)
    return path


def element(name="cat", xmin=4, ymin=2, xmax=20, ymax=12, *, more="") -> str:
    """Return an <object>."""
    edges = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object><name>{escape(name)}</name>{more}<bndbox>{edges}</bndbox></object>"


def annotation(path: Path, *objects: str, filename: str | None = None, size=(40, 20)) -> Path:
    """Write an XML file; without `filename` it names the .jpg of its own name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    named = path.with_suffix(".jpg").name if filename is None else filename
    shape = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    path.write_text(
        f"<annotation><filename>{escape(named)}</filename>{shape}{''.join(objects)}</annotation>",
        encoding="utf-8",
    )
    return path


def annotated(folder: Path, name: str, *objects: str) -> Path:
    """Write NAME.jpg of 40 x 20 pixels and NAME.xml; return the XML."""
    image_file(folder / f"{name}.jpg")
    return annotation(folder / f"{name}.xml", *(objects or [element()]))
