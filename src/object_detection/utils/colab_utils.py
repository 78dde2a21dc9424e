"""Drawing boxes on images by hand in a notebook of Google Colab."""

import base64
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from boxtune.errors import ConfigError

PAGE = Path(__file__).with_name("colab_boxes.html")
_CALLBACK = "object_detection.annotate"


def image_from_numpy(image: np.ndarray) -> str:
    """Return an image uint8 [h, w, 3] as the base64 text of a JPEG file."""
    output = io.BytesIO()
    Image.fromarray(image).save(output, "JPEG")
    return base64.b64encode(output.getvalue()).decode("ascii")


def draw_bbox(image_urls: Sequence[str], callbackId: str) -> None:
    """Show images, base64 texts of JPEG files, on which boxes are drawn with the mouse, in the output of the cell.

    When the user submits, the function that is registered as `callbackId` is called with a list for each image, of the
    boxes as dicts of x, y, w and h in fractions. Raises ConfigError outside of Google Colab.
    """
    _colab_output()
    from IPython.display import HTML, display

    page = PAGE.read_text(encoding="utf-8")
    content = json.dumps({"images": list(image_urls), "callback": callbackId}).replace("<", "\\u003c")
    display(HTML(page.replace("{{content}}", content)))


def annotate(
    imgs: Iterable[np.ndarray],
    box_storage_pointer: list[np.ndarray | None],
    callbackId: str | None = None,
) -> None:
    """Have boxes drawn on images uint8 [h, w, 3] by hand.

    When the user submits, `box_storage_pointer` is filled: for each image float64 [n, 4] as `[ymin, xmin, ymax, xmax]`
    in fractions, or None without boxes. Raises ConfigError outside of Google Colab.
    """
    output = _colab_output()
    callback = callbackId or _CALLBACK

    def store(boxes_of_images: Sequence[Sequence[dict[str, float]]]) -> None:
        box_storage_pointer[:] = [
            np.array([[box["y"], box["x"], box["y"] + box["h"], box["x"] + box["w"]] for box in boxes])
            if boxes
            else None
            for boxes in boxes_of_images
        ]

    output.register_callback(callback, store)
    draw_bbox([image_from_numpy(image) for image in imgs], callback)


def _colab_output() -> Any:
    try:
        from google.colab import output
    except ImportError as error:
        raise ConfigError(
            "Boxes are drawn in notebooks of Google Colab only. Elsewhere use a program such as LabelImg."
        ) from error
    return output
