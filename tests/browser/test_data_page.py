import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from boxtune.data import findings as kinds
from boxtune.data.findings import Finding
from boxtune.data.image_record import Box, ImageRecord, ImageSource, ObjectRecord
from boxtune.data.label_map import LabelMap
from boxtune.metrics.label_doubts import Doubt, Kind, LabelDoubts, Seen
from boxtune.report import previews
from boxtune.report.anchor_fit import AnchorFit, best_ious
from boxtune.report.data_page import write_page
from browser_pages import DESKTOP, HOSTILE, PHONE, count, filter_by, plain, shown, unnamed_controls


def draw(path, number):
    image = Image.new("RGB", (200, 100), (40, 60 + 5 * number, 90))
    ImageDraw.Draw(image).rectangle((40, 20, 120, 80), fill=(220, 200, 60))
    image.save(path)
    return ImageSource(path)


def records(folder):
    """Thirty images of 200 x 100 pixels: all have an owl, every third a cat that is 10 x 10, the last nothing."""
    owl = ObjectRecord("owl", Box(0.2, 0.2, 0.8, 0.6))
    cat = ObjectRecord("cat", Box(0.85, 0.9, 0.95, 0.95), truncated=True)
    made = []
    for number in range(30):
        image = draw(folder / f"{number}.png", number)
        objects = [[owl], [owl, cat]][number % 3 == 0] if number < 29 else []
        made.append(ImageRecord(f"images/p{number:02}.png", image, "", 200, 100, tuple(objects)))
    return made


@pytest.fixture(scope="session")
def page_file(tmp_path_factory):
    """A page of 24 + 6 images, 39 objects and findings of three kinds, held against anchors of half the image."""
    folder = tmp_path_factory.mktemp("page")
    images = records(folder)
    found = [
        *(
            Finding(kinds.BOX_TINY, f"p{n:02}.xml", f"cat {n}", f"line {n}", f"images/p{n:02}.png")
            for n in (0, 3, 6)
        ),
        Finding(kinds.IMAGE_MISSING, "lost.xml", "There is no lost.png."),
        Finding(kinds.NO_OBJECT, "p29.xml", "It has no object.", image="images/p29.png"),
    ]
    boxes = np.float32([item.box for image in images for item in image.objects])
    anchors = np.float32([[0.25, 0.25, 0.75, 0.75]])
    path = folder / "page.html"
    write_page(
        path,
        title="Owls and cats",
        parts={"train": images[:24], "validation": images[24:]},
        findings=found,
        label_map=LabelMap.from_names(["owl", "cat", "dog"]),
        fit=AnchorFit(anchors, 0.5, boxes, best_ious(boxes, anchors)),
    )
    return path


def test_the_overview_counts(visit, page_file):
    page = visit(page_file)
    assert page.title() == "Owls and cats"
    figures = dict(
        zip(page.locator("dt").all_inner_texts(), page.locator("dd").all_inner_texts(), strict=False)
    )
    assert figures["Images"] == "30"
    assert figures["Objects"] == "39"
    assert figures["Classes"] == "3"
    assert (figures["Errors"], figures["Warnings"], figures["Notes"]) == ("1", "3", "1")
    rows = [row.split() for row in page.locator("tbody tr").all_inner_texts()]
    # Class, objects in train, in validation and in all, images. The last image has no owl.
    assert rows == [
        ["owl", "24", "5", "29", "29"],
        ["cat", "8", "2", "10", "10"],
        ["dog", "0", "0", "0", "0"],
    ]


def test_objects_without_an_anchor_are_listed_and_lead_to_their_images(visit, page_file):
    page = visit(page_file)
    about = plain(page.get_by_label("Objects and anchors").inner_text())
    assert "10 objects of 39 (26%) overlap no anchor with an IoU of 0.5" in about
    crops = page.locator(".crops button")
    assert crops.count() == 10
    label = plain(crops.first.get_attribute("aria-label"))
    assert label == "cat, 10 x 10 pixels, best IoU 0.00, in images/p00.png"
    crops.nth(1).click()
    assert page.locator("#image-name").inner_text() == "images/p03.png"
    assert plain(page.locator("#objects .hot").inner_text()) == "cat truncated 10 x 10 px IoU 0.00"
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Show 10 images").click()
    assert count(page) == "10 of 30 images"


def test_a_class_leads_to_its_images(visit, page_file):
    page = visit(page_file)
    page.get_by_role("button", name="cat", exact=True).click()
    assert page.url.endswith("#/images?class=cat")
    assert count(page) == "10 of 30 images"
    assert shown(page) == [f"p{number:02}.png" for number in range(0, 30, 3)]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_filters_narrow_the_gallery_and_stay_in_the_address(visit, page_file, size):
    page = visit(page_file, "#/images", **size)
    assert count(page) == "30 images"
    if size is PHONE:
        assert not page.get_by_label("Class", exact=True).is_visible()
        page.get_by_role("button", name="Filters", exact=True).click()
    filter_by(page, "Class", "cat (10)")
    assert count(page) == "10 of 30 images"
    filter_by(page, "Part", "train (24)")
    assert count(page) == "8 of 30 images"
    filter_by(page, "Finding", "tiny box (3)")
    assert shown(page) == ["p00.png", "p03.png", "p06.png"]
    page.get_by_label("Search by name").fill("P0 png 3")
    assert shown(page) == ["p03.png"]
    page.wait_for_url(re.compile("search=P0"))
    again = visit(page_file, "#" + page.url.split("#")[1], **size)
    assert shown(again) == ["p03.png"]
    again.get_by_role("button", name="Clear filters").click()
    assert count(again) == "30 images"


@pytest.mark.parametrize(
    ("label", "option", "number"),
    [
        ("Class", "Without objects", 1),
        ("Finding", "With any (4)", 4),
        ("Finding", "Without", 26),
        ("Object size", "Small, below 32² pixels", 10),
        ("Object size", "Large, above 96²", 0),
        ("Anchors", "Without an anchor", 10),
    ],
)
def test_every_filter(visit, page_file, label, option, number):
    page = visit(page_file, "#/images")
    filter_by(page, label, option)
    assert count(page) == f"{number} of 30 images"
    assert page.locator("#nothing").is_visible() == (number == 0)


def test_orders(visit, page_file):
    page = visit(page_file, "#/images?sort=objects")
    assert shown(page)[:4] == ["p00.png", "p03.png", "p06.png", "p09.png"]
    filter_by(page, "Order", "Worst anchor first")
    assert shown(page)[:2] == ["p00.png", "p03.png"]


def test_boxes_lie_over_images_and_can_be_switched_off(visit, page_file):
    page = visit(page_file, "#/images")
    assert page.locator("#gallery li").first.locator("path.line").count() == 2
    # The owl of image 0, as fractions of width and height.
    outlines = (
        page.locator("#gallery li")
        .first.locator("path.line")
        .evaluate_all("all => all.map((p) => p.getAttribute('d'))")
    )
    assert outlines[0] == "M0.20000 0.20000H0.60000V0.80000H0.20000Z"
    page.keyboard.press("b")
    assert not page.locator("#gallery svg").first.is_visible()
    page.get_by_label("Boxes").first.check()
    assert page.locator("#gallery svg").first.is_visible()


def test_stepping_by_keyboard(visit, page_file):
    page = visit(page_file, "#/images")
    name = page.locator("#image-name")
    focused = "document.activeElement.getAttribute('aria-label')"
    page.keyboard.press("j")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("k")
    assert page.evaluate(focused).startswith("images/p01.png, 1 object")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused).startswith("images/p01.png")
    page.keyboard.press("Enter")
    assert name.inner_text() == "images/p01.png"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("j")
    page.keyboard.press("ArrowLeft")
    assert name.inner_text() == "images/p02.png"
    assert plain(page.locator("#image-about").inner_text()) == "3 of 30 · train · 200 x 100 pixels · 1 object"
    page.keyboard.press("Escape")
    page.locator("#viewer").wait_for(state="hidden")
    # The image last looked at has the focus.
    page.locator("button[aria-label^='images/p02.png']:focus").wait_for()
    page.keyboard.press("End")
    assert page.evaluate(focused).startswith("images/p29.png")


def test_help_and_search_by_keyboard(visit, page_file):
    page = visit(page_file)
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keyboard").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("p1?b")  # all of it is text there
    assert page.get_by_label("Search by name").input_value() == "p1?b"
    assert count(page) == "0 of 30 images"


def test_an_image_in_large(visit, page_file):
    page = visit(page_file, "#/images?open=3")
    assert page.locator("#frame img").evaluate("image => image.complete && image.naturalWidth") == 200
    assert [plain(row) for row in page.locator("#objects li").all_inner_texts()] == [
        "owl 80 x 60 px IoU 0.56",
        "cat truncated 10 x 10 px IoU 0.00",
    ]
    assert plain(page.locator("#image-findings").inner_text()) == "warning: tiny box cat 3"
    assert page.locator("#frame path.line").count() == 2
    page.get_by_label("Box of cat").uncheck()
    assert page.locator("#frame path.line").count() == 1
    assert page.locator(".labels span").all_inner_texts() == ["owl"]
    page.keyboard.press("n")
    page.mouse.move(0, 0)
    assert page.locator(".labels span").count() == 0
    # Pointing at a box finds its row.
    page.locator("#frame").hover()
    assert page.locator("#objects .hot").inner_text().startswith("owl")


def test_back_closes_the_image(visit, page_file):
    page = visit(page_file, "#/images?class=cat")
    page.locator("#gallery button").nth(1).click()
    page.locator("#next").click()
    assert page.locator("#image-name").inner_text() == "images/p06.png"
    page.go_back()
    page.locator("#viewer").wait_for(state="hidden")
    assert count(page) == "10 of 30 images"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_findings_lead_to_their_images(visit, page_file, size):
    page = visit(page_file, **size)
    page.get_by_role("link", name="Findings 5").click()
    assert page.locator("#findings h2").all_inner_texts() == ["Errors", "Warnings", "Notes"]
    tiny = page.get_by_role("article", name="tiny box")
    for expected in ("warning", kinds.BOX_TINY.advice, "What convert does: keep", "p03.xml, line 3", "cat 3"):
        assert expected in tiny.inner_text()
    # One about a file without an image is listed too.
    missing = page.get_by_role("article", name=kinds.IMAGE_MISSING.name)
    assert "lost.xml" in missing.inner_text()
    assert missing.get_by_role("button").count() == 0
    tiny.get_by_role("button", name="Look at images/p03.png").click()
    assert page.locator("#image-about").inner_text().startswith("2 of 3 ")
    page.get_by_role("button", name="Close", exact=True).click()
    tiny.get_by_role("button", name="Show 3 images: tiny box").click()
    assert shown(page) == ["p00.png", "p03.png", "p06.png"]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("view", ["overview", "findings", "images", "images?open=0"])
def test_every_control_has_a_name_and_nothing_is_cut_off(visit, page_file, view, size):
    page = visit(page_file, f"#/{view}", **size)
    assert unnamed_controls(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_dark_and_light(visit, page_file):
    grounds = {}
    for scheme in ("light", "dark"):
        page = visit(page_file, color_scheme=scheme)
        colors = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        grounds[scheme] = [sum(map(int, re.findall(r"\d+", color)[:3])) for color in colors]
    assert grounds["light"][0] > 600 > 200 > grounds["light"][1]
    assert grounds["dark"][0] < 200 < 600 < grounds["dark"][1]


def test_hostile_names_are_text(visit, tmp_path):
    item = ObjectRecord(HOSTILE, Box(0.1, 0.1, 0.9, 0.9))
    image = ImageRecord(f"folder/{HOSTILE}.png", draw(tmp_path / "a.png", 0), "", 200, 100, (item,))
    found = Finding(kinds.BOX_TINY, HOSTILE, f"message {HOSTILE}", HOSTILE, image.name)
    path = tmp_path / "page.html"
    write_page(
        path,
        title=HOSTILE,
        parts={HOSTILE: [image], "b": [image]},
        findings=[found],
        label_map=LabelMap.from_names([HOSTILE]),
    )
    page = visit(path)
    assert page.title() == page.locator("h1").inner_text() == HOSTILE
    assert page.locator("tbody .link").inner_text() == HOSTILE
    page.get_by_role("link", name="Findings").click()
    assert f"message {HOSTILE}" in page.locator(".places").inner_text()
    page.get_by_role("link", name="Images").click()
    filter_by(page, "Class", f"{HOSTILE} (2)")
    assert page.locator("#gallery button").first.get_attribute("title") == image.name
    page.locator("#gallery button").first.click()
    assert page.locator("#image-name").inner_text() == image.name
    assert page.locator("#objects .what").inner_text() == HOSTILE
    # Nothing of it has become an element.
    assert page.locator("b:text-is('bold')").count() == 0
    assert page.locator("img[src=x]").count() == 0


@pytest.fixture(scope="session")
def large_file(tmp_path_factory):
    """A page of 10,000 images with ten objects each."""
    folder = tmp_path_factory.mktemp("large")
    image = draw(folder / "a.png", 0)
    names = [f"class {number}" for number in range(7)]
    boxes = [Box(0.1 * n, 0.1, 0.1 * n + 0.1, 0.5) for n in range(10)]
    objects = [tuple(ObjectRecord(name, box) for box in boxes) for name in names]
    images = [ImageRecord(f"{n:05}.png", image, "", 200, 100, objects[n % 7]) for n in range(10_000)]
    found = [Finding(kinds.IMAGE_GREY, image.name, "It is grey.", image=image.name) for image in images[::4]]
    path = folder / "page.html"
    label_map = LabelMap.from_names(names)
    write_page(path, title="Many", parts={"all": images}, findings=found, label_map=label_map)
    return path


def test_ten_thousand_images(visit, large_file):
    assert large_file.stat().st_size < 80 * 10**6
    page = visit(large_file, "#/images")

    def elements():
        return page.evaluate("document.getElementsByTagName('*').length")

    assert count(page) == "10,000 images"
    assert elements() < 3000
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.wait_for_selector("text=09999.png")
    assert (
        page.locator("#gallery img").last.evaluate("image => image.decode().then(() => image.naturalWidth)")
        == 162
    )
    assert elements() < 3000
    filter_by(page, "Class", "class 3 (14,290)")
    assert count(page) == "1,429 of 10,000 images"
    assert shown(page)[:2] == ["00003.png", "00010.png"]
    page.get_by_label("Search by name").fill("00010")
    assert shown(page) == ["00010.png"]
    page.get_by_role("link", name="Findings").click()
    page.locator("summary").click()
    page.get_by_role("button", name="Show 50 more of 2,450").click()
    assert page.locator(".places li").count() == 100
    assert elements() < 3000


@pytest.mark.parametrize("view", ["overview", "findings", "images"])
def test_a_data_set_of_nothing(visit, tmp_path, view):
    path = tmp_path / "page.html"
    write_page(path, title="Nothing", parts={}, findings=[], label_map=LabelMap(()))
    page = visit(path, f"#/{view}")
    words = {
        "overview": "There is no object.",
        "findings": "there are no findings",
        "images": "No image fits",
    }
    assert words[view] in page.locator(f"#{view}").inner_text()


def test_addresses_that_mean_nothing(visit, page_file):
    page = visit(page_file, "#/nonsense?open=12345&sort=constructor&size=toString&class=unicorn&zoom=huge")
    assert page.get_by_role("link", name="Overview").get_attribute("aria-current") == "page"
    page.get_by_role("link", name="Images").click()
    assert count(page) == "30 images"


def test_an_image_that_is_gone_still_shows_its_boxes(visit, tmp_path):
    image = ImageRecord(
        "a.png", ImageSource(tmp_path / "gone.png"), "", 200, 100, (ObjectRecord("owl", Box(0, 0, 1, 1)),)
    )
    path = tmp_path / "page.html"
    write_page(
        path, title="Gone", parts={"all": [image]}, findings=[], label_map=LabelMap.from_names(["owl"])
    )
    page = visit(path, "#/images?open=0")
    assert page.locator("#frame").inner_text().split("\n")[0] == "No preview"
    assert page.locator("#frame path.line").count() == 1


def test_the_page_says_which_images_have_no_preview(visit, tmp_path, monkeypatch):
    monkeypatch.setattr(previews, "MAX_PREVIEWS", 20)
    path = tmp_path / "page.html"
    found = [Finding(kinds.NO_OBJECT, "p29.xml", "It has no object.", image="images/p29.png")]
    label_map = LabelMap.from_names(["owl", "cat"])
    write_page(path, title="Many", parts={"all": records(tmp_path)}, findings=found, label_map=label_map)
    page = visit(path, "#/images")
    assert "10 of 30 images have no preview" in page.locator("#without-preview").inner_text()
    assert page.get_by_text("No preview").count() == 10
    assert page.locator("#gallery li").last.locator("img").count() == 1
    assert not visit(path, "#/overview").locator("#without-preview").is_visible()


def test_leaving_an_image_leads_back_to_the_findings(visit, page_file):
    page = visit(page_file, "#/findings")
    page.get_by_role("button", name="Look at images/p03.png").click()
    page.keyboard.press("ArrowRight")
    assert page.locator("#image-name").inner_text() == "images/p06.png"
    page.keyboard.press("Escape")
    page.locator("#viewer").wait_for(state="hidden")
    assert page.url.endswith("#/findings")
    assert page.get_by_role("article", name="tiny box").is_visible()


@pytest.fixture(scope="module")
def doubted_page(tmp_path_factory):
    """A page of 30 images with three doubts: a missing cat, a misplaced owl, a surplus cat."""
    folder = tmp_path_factory.mktemp("doubted")
    found = [
        Doubt(Kind.MISSING, 0.9, 4, None, Seen(1, 0.8, (70, 150, 90, 180))),
        Doubt(Kind.MISPLACED, 0.6, 2, 0, Seen(0, 0.7, (40, 80, 90, 160))),
        Doubt(Kind.SURPLUS, 0.5, 3, 1, None),
    ]
    path = folder / "page.html"
    write_page(
        path,
        title="Doubted",
        parts={"all": records(folder)},
        findings=[],
        label_map=LabelMap.from_names(["owl", "cat"]),
        doubts=LabelDoubts(["mine"], ["owl", "cat"], {"dog": 2}, 39, 30, 0, found),
    )
    return path


def test_doubts_are_listed_and_lead_to_their_images(visit, doubted_page):
    page = visit(doubted_page, "#/doubts")
    assert page.locator("#num-doubts").inner_text() == "3"
    assert "dog (2)" in page.locator("#doubts").inner_text()
    cards = page.locator(".doubts button")
    assert [card.get_attribute("aria-label") for card in cards.all()] == [
        "missing, 0.90: The model sees cat 0.80 where nothing is labelled. images/p04.png",
        "misplaced, 0.60: The model sees owl 0.70 elsewhere than the label owl. images/p02.png",
        "surplus, 0.50: The model sees no cat here. images/p03.png",
    ]
    # A box for the label and a dashed one for what the model sees, each with its halo.
    assert [card.locator("rect").count() for card in cards.all()] == [2, 4, 2]
    cards.first.click()
    assert page.locator("#image-name").inner_text() == "images/p04.png"
    assert "nothing is labelled" in page.locator("#image-doubts").inner_text()
    assert page.locator("#frame path.seen").count() == 1
    page.keyboard.press("ArrowRight")
    assert page.locator("#image-name").inner_text() == "images/p02.png"
    page.keyboard.press("ArrowRight")
    assert page.locator("#image-name").inner_text() == "images/p03.png"
    assert page.locator("#frame path.seen").count() == 0
    assert not page.locator("#next").is_enabled()


def test_doubts_are_filtered_by_kind(visit, doubted_page):
    page = visit(doubted_page, "#/doubts")
    page.get_by_role("button", name="misplaced: 1 doubt").click()
    assert page.locator(".doubts li").count() == 1
    page.get_by_role("button", name="All: 3 doubts").click()
    assert page.locator(".doubts li").count() == 3
    assert page.get_by_role("button", name="wrong class: 0 doubts").is_disabled()
    page = visit(doubted_page, "#/images?doubt=surplus")
    assert shown(page) == ["p03.png"]
    filter_by(page, "Doubt", "With any (3)")
    filter_by(page, "Order", "Most doubtful first")
    assert shown(page) == ["p04.png", "p02.png", "p03.png"]


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_doubts_fit_the_screen_and_have_names(visit, doubted_page, size):
    page = visit(doubted_page, "#/doubts", **size)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert unnamed_controls(page) == []


def test_without_a_model_there_are_no_doubts(visit, page_file):
    page = visit(page_file, "#/doubts")
    assert not page.locator("#to-doubts").is_visible()
    assert page.locator("#overview").is_visible()
