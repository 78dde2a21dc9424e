"""The page of a server in a real browser: images and a camera, scores and classes, what is saved, errors."""

import io
import json

import pytest
from PIL import Image

import patience
from boxtune.load import load
from boxtune.serving.limits import Limits
from browser_pages import DESKTOP, HOSTILE, PHONE, cut_tables, plain, unnamed_controls
from serving import red_model
from serving.red_model import CAT, DOG, picture
from serving.running import HeldModel, running

SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])


@pytest.fixture(scope="session")
def reds(tmp_path_factory):
    return load(red_model.export(tmp_path_factory.mktemp("reds") / "reds"))


@pytest.fixture
def server(reds):
    with running(HeldModel(reds), Limits(image_bytes=2**20), token="a-good-token") as server:
        yield server


@pytest.fixture
def visit_server(chromium, server):
    """Open the page of the server; in the end nothing was asked of anybody else, and nothing was complained of."""
    contexts, complaints, requests = [], [], []
    own = f"http://127.0.0.1:{server.port}/"

    def opened(*, width, height):
        viewport = {"width": width, "height": height}
        context = chromium.new_context(viewport=viewport, permissions=["camera"], reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{own}?token=a-good-token")
        return page

    yield opened
    for context in contexts:
        context.close()
    refused = "Failed to load resource:"  # what Chromium says of any answer but 200
    assert [text for text in complaints if not text.startswith(refused)] == []
    assert [url for url in requests if not url.startswith((own, "data:", "blob:"))] == []


def chosen(page, *images, names=None):
    """Choose images, and wait until all are answered."""
    names = names or [f"p{number}.png" for number in range(len(images))]
    files = [
        {"name": name, "mimeType": "image/png", "buffer": image}
        for name, image in zip(names, images, strict=True)
    ]
    page.locator("#files").set_input_files(files)
    page.locator("#status", has_text=" in ").wait_for()
    page.locator("#canvas[aria-label]").wait_for()


def classes(page):
    """Return what is said of each class: its name, from which score on it is shown, and how many are."""
    return [plain(row) for row in page.locator("#classes li").all_inner_texts()]


def table(page):
    return [plain(row) for row in page.locator("#table tbody tr").all_inner_texts()]


def is_within(page):
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@SIZES
def test_images_scores_and_classes(visit_server, size):
    page = visit_server(**size)
    assert page.title() == "Try reds"
    assert page.locator("#results").is_hidden()
    assert is_within(page)
    chosen(
        page,
        picture(204, width=400, height=200),
        picture(100, width=300, height=200),
        names=["a.png", f"{HOSTILE}.png"],
    )
    assert page.locator("#canvas").get_attribute("aria-label") == f"a.png: 1 {DOG}"
    assert plain(page.locator("#about").inner_text()).startswith("400 x 200 pixels. ")
    assert classes(page) == [f"{CAT} from 0.50 0", f"{DOG} from 0.70 1"]
    assert table(page) == [f"{DOG} 0.80 0 0 200 100"] if size == DESKTOP else len(table(page)) == 1
    page.get_by_label("Score from").fill("0.3")
    assert classes(page) == [f"{CAT} from 0.30 1", f"{DOG} from 0.30 1"]
    assert page.locator("#count").inner_text() == "2"
    page.get_by_role("checkbox", name=DOG).uncheck()
    assert page.locator("#canvas").get_attribute("aria-label") == f"a.png: 1 {CAT}"
    page.get_by_role("button", name="None").click()
    assert page.locator("#table").inner_text() == "Nothing reaches this score."
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_role("button", name="Back to the model's thresholds").click()
    assert classes(page) == [f"{CAT} from 0.50 0", f"{DOG} from 0.70 1"]
    page.get_by_role("button", name=HOSTILE).click()
    page.locator("#name", has_text=HOSTILE).wait_for()
    assert page.locator("#count").inner_text() == "0"
    assert unnamed_controls(page) == []
    assert cut_tables(page) == []
    assert is_within(page)
    page.get_by_role("button", name="Remove all images").click()
    assert page.locator("#results").is_hidden()


def test_boxes_are_drawn_where_they_are(visit_server):
    page = visit_server(**DESKTOP)
    chosen(page, picture(204, width=400, height=200))
    pixels = page.evaluate(
        """([...points]) => { const canvas = document.getElementById("canvas"), scale = canvas.width / 400;
           const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
           const at = ([x, y]) => 4 * (Math.round(y * scale) * canvas.width + Math.round(x * scale));
           return points.map((point) => [...data.slice(at(point), at(point) + 3)]); }""",
        [[100, 100], [200, 70], [300, 150], [100, 60]],
    )
    dog = [61, 219, 217]
    assert pixels == [dog, dog, [204, 0, 0], [204, 0, 0]]


def test_what_is_saved(visit_server):
    page = visit_server(**DESKTOP)
    chosen(page, picture(204, width=400, height=200), names=["a b/c.png"])
    saved = {}
    for button in ("Save as PNG", "Save as JPEG", "Save detections as JSON"):
        with page.expect_download() as download:
            page.get_by_role("button", name=button).click()
        saved[download.value.suggested_filename] = download.value.path().read_bytes()
    assert [*saved] == ["a_b_c-detections.png", "a_b_c-detections.jpg", "detections.json"]
    png, jpeg, written = saved.values()
    for data, kind in ((png, "PNG"), (jpeg, "JPEG")):
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.size) == (kind, (400, 200))
    with Image.open(io.BytesIO(png)) as image:
        assert image.convert("RGB").getpixel((100, 100)) == (61, 219, 217)
    dog = {"name": DOG, "score": pytest.approx(0.8), "ymin": 0, "xmin": 0, "ymax": 100, "xmax": 200}
    expected = {"name": "a b/c.png", "width": 400, "height": 200, "detections": [dog]}
    assert json.loads(written) == {"images": [expected]}


def test_an_image_that_this_browser_cannot_show(visit_server):
    page = visit_server(**DESKTOP)
    chosen(page, picture(255, format="TIFF"), names=["a.tif"])
    assert page.locator("#canvas").get_attribute("aria-label") == f"a.tif: 1 {DOG}, 1 {CAT}"
    assert "This browser cannot show the image itself." in page.locator("#about").inner_text()


@SIZES
def test_errors_are_shown(visit_server, server, size):
    page = visit_server(**size)
    chosen(page, b"text", bytes(2**20 + 1), picture(204), names=[f"{HOSTILE}.jpg", "large.png", "good.png"])
    sent = HOSTILE.replace('"', "%22")  # so browsers write names
    errors = page.locator("#errors span").all_inner_texts()
    assert sorted(errors) == sorted(
        [
            f"{sent}.jpg: it cannot be decoded: it is no image of a known format. Save it as JPEG or PNG.",
            "large.png: it has 1.1 MiB; this server takes 1 MiB. Choose a smaller one.",
        ]
    )
    assert page.locator("#about").inner_text() == "No answer: see the error above."
    page.get_by_role("button", name="good.png").click()
    page.locator("#name", has_text="good.png").wait_for()
    assert page.locator("#count").inner_text() == "1"
    assert is_within(page)
    page.get_by_role("button", name="Dismiss this error").first.click()
    assert page.locator("#errors li").count() == 1


def test_images_that_are_dropped_and_pasted(visit_server):
    page = visit_server(**DESKTOP)
    for event, field in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """async ([event, field, bytes]) => {
                 const data = new DataTransfer();
                 data.items.add(new File([new Uint8Array(bytes)], `${event}.png`, { type: "image/png" }));
                 const made = new Event(event, { bubbles: true, cancelable: true });
                 Object.defineProperty(made, field, { value: data });
                 document.body.dispatchEvent(made);
               }""",
            [event, field, list(picture(204))],
        )
        page.get_by_role("button", name=f"{event}.png").locator("canvas").wait_for()
    assert page.locator("#strip li").count() == 2


@SIZES
def test_the_camera(visit_server, server, size):
    page = visit_server(**size)
    server.model.may_go_on.clear()
    page.get_by_role("button", name="Use the camera").click()
    assert server.model.asked.wait(patience.SECONDS)
    page.wait_for_timeout(300)  # in which more frames would have come
    assert server.model.given == [1]
    assert server.value("boxtune_images_waiting") == 1
    server.model.may_go_on.set()
    page.locator("#about", has_text="images/s").wait_for()
    patience.wait_until(lambda: len(server.model.given) > 3)
    assert set(server.model.given) == {1}
    assert page.locator("#name").inner_text() == "Camera"
    assert is_within(page)
    page.get_by_role("button", name="Stop the camera").click()
    page.get_by_role("button", name="Use the camera").wait_for()
    patience.wait_until(lambda: server.value("boxtune_images_waiting") == 0)
    count = len(server.model.given)
    page.wait_for_timeout(300)
    assert len(server.model.given) == count


def test_a_server_that_is_gone(visit_server, server):
    page = visit_server(**DESKTOP)
    server.server.should_exit = True
    patience.wait_until(lambda: not server.server.server_state.connections)
    page.locator("#files").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": picture(1)})
    page.locator("#errors", has_text="a.png: the server does not answer. Is it still running?").wait_for()
