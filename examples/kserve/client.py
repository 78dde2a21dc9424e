"""Ask a server that speaks KServe's V2 protocol what is in an image.

    python client.py photo.jpg [http://localhost:8080/v2/models/detector/infer]

Tried with detector.py beside it; no test runs it.
"""

import sys

import numpy as np
import requests
from PIL import Image


def main() -> None:
    """Print the class, the score and the sides, in pixels, of everything that scores 0.5 or more."""
    path, url = (*sys.argv[1:], "http://localhost:8080/v2/models/detector/infer")[:2]
    image = np.asarray(Image.open(path).convert("RGB"))
    given = {
        "name": "input_tensor",
        "datatype": "UINT8",
        "shape": [1, *image.shape],
        "data": image.ravel().tolist(),
    }
    answer = requests.post(url, json={"inputs": [given]}, timeout=60)
    answer.raise_for_status()
    found = {one["name"]: np.reshape(one["data"], one["shape"])[0] for one in answer.json()["outputs"]}
    sides = found["detection_boxes"] * [*image.shape[:2], *image.shape[:2]]
    for number, score, box in zip(found["detection_classes"], found["detection_scores"], sides, strict=True):
        if score >= 0.5:
            print(f"class {number:.0f} {score:.2f}: ymin, xmin, ymax, xmax {box.round().tolist()}")


if __name__ == "__main__":
    main()
