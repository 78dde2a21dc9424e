"""The page of examples/browser in a real browser: it finds what onnxruntime finds in Python."""

import contextlib
import functools
import http.server
import io
import os
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import patience
from boxtune.data.label_map import read_label_map
from boxtune.export import export

pytestmark = [pytest.mark.thorough, pytest.mark.shared]

EXAMPLE = Path(__file__).parents[2] / "examples" / "browser"
KEYS = ("number", "score", "ymin", "xmin", "ymax", "xmax")
DETECT = """async () => {
    const { loadDetector, namesIn } = await import("./detector.mjs");
    const detect = await loadDetector("model.onnx");
    const image = await createImageBitmap(await (await fetch("image.png")).blob());
    const names = namesIn(await (await fetch("label_map.pbtxt")).text());
    return { found: await detect(image), names: [...names] };
}"""


@pytest.fixture(scope="module")
def packages():
    """The folder into which npm has installed what package.json names."""
    folder = Path(os.environ.get("BOXTUNE_NODE_MODULES", Path(sys.prefix) / "web" / "node_modules"))
    if not folder.is_dir():
        message = f"needs onnxruntime-web in {folder}, where `make test-thorough` installs it"
        if os.environ.get("BOXTUNE_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="module")
def site(shared, packages, tmp_path_factory):
    """The example as its reader has it, with a model of COCO's classes and an image."""
    folder = tmp_path_factory.mktemp("browser") / "site"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(packages, target_is_directory=True)
    model = shared / "checkpoints" / "ssd_mobilenet_v2_fpnlite_224x224_a050_coco"
    with contextlib.redirect_stdout(io.StringIO()):
        exported = export(
            model / "pipeline.config", model / "checkpoint", folder.parent / "exported", formats=["onnx"],
            overrides=[f"train_input_reader.label_map_path={model / 'label_map.pbtxt'}"],
        )  # fmt: skip
    for name in ("model.onnx", "label_map.pbtxt"):
        shutil.copy(exported / name, folder / name)
    photo = sorted((shared / "data" / "voc" / "raccoon" / "images").glob("*.jpg"))[0]
    Image.open(photo).convert("RGB").save(folder / "image.png")  # which all decoders decode alike
    return folder


@pytest.fixture(scope="module")
def address(site):
    """Where a server of files answers, which is all that the page needs."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Handler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(chromium, address):
    """The page as a tab, of which nothing was complained, and which asked nobody else."""
    complaints, requests = [], []
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(1000 * patience.SECONDS)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.locator("#status", has_text="Choose an image.").wait_for()
    yield page
    context.close()
    assert [text for text in complaints if "favicon" not in text and "404" not in text] == []
    assert [url for url in requests if not url.startswith((address, "blob:"))] == []


@pytest.fixture(scope="module")
def expected(site):
    """What onnxruntime finds in Python: numbers of classes, scores, and boxes in pixels."""
    session = onnxruntime.InferenceSession(site / "model.onnx")
    image = np.asarray(Image.open(site / "image.png"))
    names = [f"detection_{part}" for part in ("classes", "scores", "boxes")]
    count, *parts = session.run(["num_detections", *names], {"input_tensor": image[None]})
    numbers, scores, boxes = (part[0, : int(count[0])] for part in parts)
    return numbers, scores, boxes, image.shape[:2]


def test_it_finds_what_python_finds(page, site, expected):
    numbers, scores, boxes, (height, width) = expected
    answer = page.evaluate(DETECT)
    found = [[one[key] for key in KEYS] for one in answer["found"]]
    assert len(found) == len(scores) == 100
    assert (scores > 0.3).sum() > 0
    np.testing.assert_allclose([one[1] for one in found], scores, rtol=0, atol=1e-4)
    # Where scores are equal but for rounding, their order is chance: of the same class each has its own.
    left = np.array(found) / [1, 1, height, width, height, width]
    for one in np.column_stack([numbers, scores, boxes]):
        same = np.flatnonzero((left[:, 0] == one[0]) & (np.abs(left - one).max(1) < 1e-4))
        assert len(same) > 0
        left = np.delete(left, same[0], axis=0)
    labels = read_label_map(site / "label_map.pbtxt").labels
    assert dict(answer["names"]) == {label.id: label.display_name or label.name for label in labels}


def test_the_page(page, site, expected):
    shown = int((expected[1] >= 0.5).sum())
    page.get_by_label("An image").set_input_files(site / "image.png")
    page.locator("#status", has_text=f"{shown} found in").wait_for()
    assert page.locator("#found li").count() == shown
    size = page.locator("#canvas").evaluate("(one) => [one.height, one.width]")
    assert tuple(size) == expected[3]
