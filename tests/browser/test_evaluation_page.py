import re

import pytest

from boxtune.metrics.bootstrap import Interval
from boxtune.metrics.comparison import Comparison, Difference
from boxtune.report import previews
from boxtune.report.evaluation_json import from_json
from boxtune.report.evaluation_page import write_page
from boxtune.run_history import RunHistory, Size
from browser_pages import (
    DESKTOP,
    HOSTILE,
    PHONE,
    count,
    cut_tables,
    filter_by,
    plain,
    shown,
    unnamed_controls,
)
from evaluation_results import (
    MAP,
    A,
    at_random,
    curve,
    detections,
    evaluation,
    groundtruth,
    hand_drawn,
    hand_drawn_before,
    image,
    preview,
)

NONE = "\N{EN DASH}"
COMPARISON = Comparison(
    0.5, [], [], [Difference(MAP, 0.63, 0.65, 0.02, Interval(0.004, 0.04), 0.016, True)], 1000
)


@pytest.fixture(scope="session")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluation") / "page.html"
    write_page(path, from_json(hand_drawn()))
    return path


HISTORY = RunHistory(
    model="ssd_mobilenet_v2_fpn_keras, 320 x 320 pixels",
    start="random weights",
    time="2026-01-02T03:04:05+0000",
    command="boxtune retrain photos --model_dir owls",
    batch_size=8,
    parts={"training": Size(20, 31), "evaluation": Size(5, None)},
    steps=[500, 1000, 1500, 2000, 2500],
    losses=[2.0, 1.5, 1.2, 1.1, 1.05],
    evaluated=[1000, 2000],
    mean_average_precision=[0.4, 0.65],
    ap50=[0.7, None],
    evaluation_losses=[1.6, 1.2],
)


@pytest.fixture(scope="session")
def with_history(tmp_path_factory):
    path = tmp_path_factory.mktemp("history") / "page.html"
    write_page(path, from_json(hand_drawn()), history=HISTORY)
    return path


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory):
    path = tmp_path_factory.mktemp("comparison") / "page.html"
    write_page(path, from_json(hand_drawn()), from_json(hand_drawn_before()), COMPARISON)
    return path


def numbers(page):
    """Return the counts beside the threshold, by name."""
    terms, values = page.locator("#counts dt"), page.locator("#counts dd")
    return dict(zip(terms.all_inner_texts(), values.all_inner_texts(), strict=True))


def rows(page, label):
    """Return the texts of a table, row by row."""
    body = page.get_by_role("region", name=label, exact=True).locator("tbody tr")
    return [[plain(cell) for cell in row.locator("th, td").all_inner_texts()] for row in body.all()]


def slide(page, value, which=0):
    """Move the slider as a hand does, and let it go."""
    slider = page.locator("[data-threshold]").nth(which)
    slider.evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", str(value)
    )
    slider.dispatch_event("change")


def test_headline_numbers_have_intervals_and_words(visit, page_file):
    page = visit(page_file)
    assert page.title() == "Owls, now"
    assert plain(page.locator(".about").inner_text()) == (
        "Owls, now · step 2,000 · 5 images · 5 objects · 1 that do not count · 3 classes · 7 detections"
    )
    tile = page.get_by_label("mAP", exact=True)
    assert "0.652" in tile.inner_text()
    assert "95 % confidence interval 0.60 to 0.70" in tile.inner_text()
    assert "from 0 to 1" in tile.inner_text()


def test_minus_one_is_explained(visit, tmp_path):
    path = tmp_path / "page.html"
    made = hand_drawn(metrics={MAP: -1})
    write_page(path, from_json(made))
    tile = visit(path).get_by_label("mAP", exact=True)
    assert tile.locator(".value").inner_text() == NONE
    assert "no object that this number could be about" in tile.inner_text()


def test_how_the_run_was_made_and_has_learned(visit, with_history):
    page = visit(with_history)
    facts = page.get_by_label("The run")
    values = [plain(value) for value in facts.locator("dd").all_inner_texts()]
    assert dict(zip(facts.locator("dt").all_inner_texts(), values, strict=True)) == {
        "Model": "ssd_mobilenet_v2_fpn_keras, 320 x 320 pixels",
        "Weights from": "random weights",
        "Training": "20 images, 31 objects",
        "Validation": "5 images",
        "Length": "2,500 steps of 8 images",
        "Started": "2026-01-02 03:04",
        "Command": "boxtune retrain photos --model_dir owls",
    }
    validation, loss = page.get_by_label("Learning curve").locator(".plot").all()
    validation.locator(".scatterlayer .trace").first.wait_for()
    assert validation.get_attribute("aria-label") == (
        "validation by step. mAP 0.650 at step 2000, AP50 unknown at step 2000"
    )
    # The step that the page is about.
    assert validation.locator(".shapelayer path").count() == 1
    loss.locator(".scatterlayer .trace").nth(1).wait_for()
    assert "training 1.050 at step 2500" in loss.get_attribute("aria-label")


def test_without_a_run_there_is_no_curve(visit, page_file):
    page = visit(page_file)
    assert page.get_by_label("Learning curve").count() == 0


def test_the_worst_mistakes_lead_to_their_images(visit, page_file):
    page = visit(page_file)
    worst = page.get_by_label("Worst mistakes")
    # As the gallery sorts them; nothing is wrong in a.
    assert [name[0] for name in worst.locator(".name").all_inner_texts()] == list("bced")
    assert worst.locator("path.line.wrong").count() > 0
    worst.get_by_role("button", name="photos/c.png: 1 correct, 1 wrong, 1 missed").click()
    assert page.locator("#image-name").inner_text() == "photos/c.png"
    assert page.locator("#image-about").inner_text().startswith("2 of 4 ")
    page.get_by_role("button", name="Close", exact=True).click()
    worst.get_by_role("button", name="All 4 images with mistakes").click()
    assert "".join(name[0] for name in shown(page)) == "bced"
    page.go_back()
    slide(page, 1)
    assert [name[0] for name in worst.locator(".name").all_inner_texts()] == list("cbea")


def test_what_is_missed_for_its_score_alone_is_told(visit, page_file):
    page = visit(page_file)
    assert "found at a lower score" not in rows(page, "Kinds of mistakes")[-1][0]
    slide(page, 0.92)
    # The owl of a has a score of 0.9.
    assert rows(page, "Kinds of mistakes")[-1][0].endswith("1 of these is found at a lower score.")


def test_where_nothing_right_scores_0_5_the_threshold_is_that_of_the_highest_f1(visit, tmp_path):
    made = hand_drawn()
    for item in made["images"]:
        item["detections"]["score"] = [round(score / 2, 3) for score in item["detections"]["score"]]
    path = tmp_path / "page.html"
    write_page(path, from_json(made))
    page = visit(path)
    assert page.locator("[data-threshold-value]").first.inner_text() == "0.41"
    assert numbers(page)["correct"] == "2"


@pytest.mark.parametrize("many", [False, True])
def test_it_says_how_large_its_images_are(visit, tmp_path, monkeypatch, many):
    path = tmp_path / "page.html"
    if many:
        monkeypatch.setattr(previews, "MAX_PREVIEW_CHARACTERS", 300_000)
    write_page(path, from_json(hand_drawn()))
    page = visit(path, "#/images")
    assert page.locator("#without-preview").is_visible() == many
    size = (
        "514 pixels on the longer side, so that all of them take"
        if many
        else "1,024 pixels on the longer side."
    )
    assert f"Images are kept in this page at up to {size}" in page.locator("#about-previews").text_content()


def test_counts_at_a_threshold(visit, page_file):
    page = visit(page_file)
    # Worked out by hand, from the scores of evaluation_results.hand_drawn.
    for threshold, *expected in (
        (0.5, "2", "3", "3", "0.40", "0.40", "0.40"),
        (0.4, "2", "4", "3", "0.33", "0.40", "0.36"),
        (0.9, "2", "0", "3", "1.00", "0.40", "0.57"),
        (0.92, "1", "0", "4", "1.00", "0.20", "0.33"),
        (1, "0", "0", "5", NONE, "0.00", "0.00"),
    ):
        slide(page, threshold)
        page.wait_for_function(
            "(value) => document.querySelector('[data-threshold-value]').textContent === value",
            arg=str(threshold),
        )
        assert list(numbers(page).values()) == expected
    assert list(numbers(page)) == ["correct", "wrong", "missed", "precision", "recall", "F1"]


def test_the_slider_updates_everything(visit, page_file):
    page = visit(page_file)
    slide(page, 0.9)
    page.wait_for_url(re.compile(r"threshold=0\.9$"))
    assert numbers(page)["wrong"] == "0"
    # Kind, number, gain: nothing is wrong any more, three objects are missed.
    assert [row[1] for row in rows(page, "Kinds of mistakes")] == ["0", "0", "0", "0", "0", "3"]
    assert rows(page, "Table of classes")[0][6:9] == ["1.00", "0.67", "0.80"]  # 2 of 3 owls
    page.get_by_role("link", name="Confusions").click()
    matrix = rows(page, "Confusion matrix")
    assert matrix == [
        ["owl", "2", "·", "·", "1"],
        ["cat", "·", "·", "·", "1"],
        ["dog", "·", "·", "·", "1"],
        ["nothing there", "·", "·", "·", ""],
    ]
    page.get_by_role("link", name="Images").click()
    assert page.get_by_role("button", name="photos/b.png: 0 correct, 0 wrong, 1 missed").count() == 1
    slide(page, 0.5)
    assert page.get_by_role("button", name="photos/b.png: 0 correct, 1 wrong, 1 missed").count() == 1
    page.keyboard.press("+")
    assert page.locator("[data-threshold-value]").first.inner_text() == "0.55"


def test_while_the_slider_moves_no_image_jumps(visit, page_file):
    page = visit(page_file, "#/images?kind=mistake")
    before = shown(page)
    page.locator("[data-threshold]").first.evaluate(
        "(input) => { input.value = 0.93; input.dispatchEvent(new Event('input')); }"
    )
    page.get_by_role("button", name="photos/d.png: 0 correct, 0 wrong, 0 missed").wait_for()
    assert shown(page) == before
    page.locator("[data-threshold]").first.dispatch_event("change")
    assert "d.png" not in shown(page)


def test_the_confusion_matrix_leads_to_its_images(visit, page_file):
    page = visit(page_file, "#/confusions")
    # The crowd of dogs that is found as a dog is in no cell.
    assert rows(page, "Confusion matrix") == [
        ["owl", "2", "·", "·", "1"],
        ["cat", "·", "·", "1", "·"],
        ["dog", "·", "·", "·", "1"],
        ["nothing there", "1", "1", "·", ""],
    ]
    assert page.locator(".ranking li").all_inner_texts() == ["cat, found as dog\n1"]
    for name, images in {
        "1: cat, found as dog": ["b.png"],
        "2: owl, found": ["c.png", "a.png"],
        "1: owl, missed": ["e.png"],
        "1: nothing there, found as cat": ["d.png"],
    }.items():
        page.get_by_role("button", name=name, exact=True).click()
        assert shown(page) == images
        assert name.split(": ")[1] in page.locator(".chip").inner_text()
        page.get_by_role("link", name="Confusions").click()
    page.get_by_role("button", name="1: dog, missed").click()
    page.get_by_role("button", name="Without: dog, missed").click()
    assert count(page) == "5 images"


def test_kinds_of_mistakes_lead_to_their_images(visit, page_file):
    page = visit(page_file)
    table = rows(page, "Kinds of mistakes")
    assert [row[1:3] for row in table] == [
        *(["1", "0.000"], ["0", "+0.010"], ["0", "+0.020"], ["1", "+0.030"], ["1", "+0.040"]),
        ["3", "+0.050"],
    ]
    page.get_by_role("button", name="Found twice").click()
    assert shown(page) == ["c.png"]
    assert page.locator("#gallery path.line.wrong").count() == 1
    assert page.get_by_label("Kind", exact=True).input_value() == "duplicate"


def test_classes_can_be_sorted_and_lead_on(visit, page_file):
    page = visit(page_file)
    first = page.locator("#results tbody .link span:last-child")
    classes = page.get_by_role("region", name="Table of classes")
    assert classes.locator("tbody .link .swatch + span").all_inner_texts() == ["owl", "dog", "cat"]
    head = classes.get_by_role("columnheader", name="Class")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert classes.locator("tbody .link .swatch + span").all_inner_texts() == ["cat", "dog", "owl"]
    head.get_by_role("button").click()
    assert first.count() > 0
    assert classes.locator("tbody .link .swatch + span").all_inner_texts() == ["owl", "dog", "cat"]
    page.get_by_role("button", name="Use the threshold 0.43, the best of cat").click()
    assert numbers(page)["wrong"] == "4"
    classes.get_by_role("button", name="cat", exact=True).click()
    # There is a cat in b, and one was found in d.
    assert sorted(shown(page)) == ["b.png", "d.png"]


def test_charts_are_drawn_when_they_come_into_view_and_lead_on(visit, page_file):
    page = visit(page_file)
    chart = page.locator(".plot").first
    chart.locator(".scatterlayer .trace").first.wait_for()
    assert chart.get_attribute("aria-label").startswith("Precision against recall. owl: AP50 0.70")
    assert chart.locator(".scatterlayer .trace").count() == 6  # three curves, three marks
    page.locator("#results select").first.select_option(label="cat")
    page.wait_for_function("document.querySelectorAll('.plot')[0].querySelectorAll('.trace').length === 2")
    # The point of the cat's curve at a score of 0.99 - 0.96 * 30 / 60 = 0.51.
    made = curve(0.85)
    chart.scroll_into_view_if_needed()
    box = chart.evaluate(
        """(chart, [x, y]) => {
            const { xaxis, yaxis } = chart._fullLayout, { left, top } = chart.getBoundingClientRect();
            return [left + xaxis._offset + xaxis.d2p(x), top + yaxis._offset + yaxis.d2p(y)];
        }""",
        [made["recall"][30], made["precision"][30]],
    )
    page.mouse.move(*box)
    chart.locator(".hoverlayer .hovertext").first.wait_for()
    page.mouse.click(*box)
    page.wait_for_url(re.compile("#/images"))
    assert re.search(r"class=1&curve=1&threshold=0\.\d+", page.url)
    page.go_back()
    calibration = page.locator(".plot").last
    calibration.scroll_into_view_if_needed()
    calibration.locator(".barlayer .point").nth(7).click(force=True)
    page.wait_for_url(re.compile("scores=0.7%7E0.8"))


def test_scores_as_a_table_lead_to_their_detections(visit, page_file):
    page = visit(page_file)
    page.get_by_text("As a table").click()
    page.get_by_role("button", name="0.6 to 0.7").click()
    # A duplicate of 0.6; the crowd of 0.65 does not count, 0.7 is in the next bin.
    assert shown(page) == ["c.png"]
    assert "scores 0.6 to 0.7" in page.locator(".chip").inner_text()


def test_every_filter(visit, page_file):
    page = visit(page_file, "#/images")
    for label, option, names in (
        ("Kind", "Any mistake", "bcde"),
        ("Kind", "Without mistakes", "a"),
        ("Kind", "Missed", "bce"),
        ("Kind", "Wrong class", "b"),
        ("Kind", "Does not count", "e"),
        ("Class", "dog", "bce"),
    ):
        filter_by(page, label, option)
        assert sorted(name[0] for name in shown(page)) == list(names), option
        page.get_by_role("button", name="Clear filters").click()
        assert count(page) == "5 images"


def test_orders(visit, page_file):
    page = visit(page_file, "#/images")
    for option, names in (
        # Mistakes: one wrong and one missed in b and c, one in d and e, none in a; then by AP50: b 0, c 0.5, e 0.
        ("Worst first: most mistakes", "bceda"),
        ("Lowest AP50 first", "becad"),
        ("Surest mistake first", "bdcae"),
        ("By name", "abcde"),
    ):
        filter_by(page, "Order", option)
        assert "".join(name[0] for name in shown(page)) == names, option


def test_boxes_lie_over_previews(visit, page_file):
    page = visit(page_file, "#/images?sort=name")
    cell = page.locator("#gallery li").first
    assert cell.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 200
    assert cell.locator("svg").get_attribute("viewBox") == "0 0 200 100"
    # A, as ymin, xmin, ymax, xmax.
    assert A == (10, 10, 60, 60)
    assert cell.locator("path.line.correct").get_attribute("d") == "M10.0 10.0H60.0V60.0H10.0Z"
    assert cell.locator("path.line.there").count() == 1
    page.keyboard.press("t")
    assert not cell.locator("path.line.there").is_visible()
    page.get_by_label("Found").first.uncheck()
    assert not cell.locator("path.line.correct").is_visible()


def test_an_image_in_large_by_keyboard(visit, page_file):
    page = visit(page_file, "#/images?sort=name")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#image-name").inner_text() == "photos/c.png"
    about = plain(page.locator("#image-about").inner_text())
    assert about == "3 of 5 · 200 x 100 pixels · 1 correct, 1 wrong, 1 missed"
    boxes = [plain(row) for row in page.get_by_label("Boxes", exact=True).locator("li").all_inner_texts()]
    assert boxes == [
        "dog missed",
        "owl found twice, IoU 0.80 score 0.60",
        "owl IoU 1.00 score 0.95",
    ]
    assert sorted(page.locator(".labels span").all_inner_texts()) == ["dog missed", "owl 0.60", "owl 0.95"]
    slide(page, 0.4, which=1)
    assert plain(page.get_by_label("Boxes", exact=True).inner_text()).count("score") == 3
    page.get_by_label("Boxes", exact=True).get_by_role("button").first.hover()
    assert page.locator("#frames path.hot").count() == 1
    page.keyboard.press("n")
    page.mouse.move(0, 0)
    assert page.locator(".labels span").count() == 0
    page.keyboard.press("ArrowLeft")
    assert page.locator("#image-name").inner_text() == "photos/b.png"
    assert "instead of cat, IoU 1.00" in page.get_by_label("Boxes", exact=True).inner_text()
    page.keyboard.press("Escape")
    page.locator("#viewer").wait_for(state="hidden")
    page.keyboard.press("/")
    page.keyboard.type("e.png")
    assert shown(page) == ["e.png"]
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Words and keyboard").is_visible()


def test_two_runs_side_by_side(visit, two_runs):
    page = visit(two_runs)
    assert "+0.020" in page.get_by_label("mAP", exact=True).inner_text()
    page.get_by_role("link", name="Comparison").click()
    verdict = plain(page.locator(".verdict").inner_text())
    assert verdict.startswith("mAP rose by 0.020 (95 % confidence interval +0.004 to +0.040).")
    assert "more than chance: of equally good runs, only 2% would differ so much" in verdict.replace(
        "1.6%", "2%"
    )
    assert rows(page, "Numbers of both runs")[0] == ["mAP", "0.632", "0.652", "+0.020", "+0.004 to +0.040"]
    # a's owl is found now, b's cat was before; c's owl by both, c's dog and e's owl by none.
    changes = [row[1] for row in rows(page, "Fixed and broken objects")]
    assert changes == ["1", "1", "1", "2"]
    slide(page, 0.92)
    assert [row[1] for row in rows(page, "Fixed and broken objects")] == ["0", "0", "1", "4"]
    slide(page, 0.5)
    page.get_by_role("button", name="Broken: missed now, found before").click()
    assert shown(page) == ["b.png"]
    page.locator("#gallery button").click()
    captions = page.locator("figcaption").all_inner_texts()
    assert captions == [
        "Before: Owls, before · 1 correct, 0 wrong, 0 missed",
        "Now: Owls, now · 0 correct, 1 wrong, 1 missed",
    ]
    frames = page.locator("#frames .frame")
    assert frames.nth(0).locator("path.line.correct").count() == 1
    assert frames.nth(1).locator("path.line.missed").count() == 1
    assert "cat missed, broken" in plain(page.get_by_label("Now: Owls, now").inner_text())
    page.keyboard.press("Escape")
    page.locator("#viewer").wait_for(state="hidden")
    page.get_by_label("Run", exact=True).select_option(label="Before: Owls, before")
    assert numbers(page)["correct"] == "2"


def test_runs_that_were_not_compared(visit, tmp_path):
    path = tmp_path / "page.html"
    write_page(path, from_json(hand_drawn()), from_json(hand_drawn_before()))
    page = visit(path, "#/comparison")
    assert "is not known" in page.locator(".verdict").inner_text()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_control_has_a_name_and_nothing_is_cut_off(visit, two_runs, size):
    page = visit(two_runs, **size)
    for view in ("results", "confusions", "comparison", "images", "images?open=1"):
        page.evaluate("(hash) => { location.hash = hash; }", f"#/{view}")
        section, _, query = view.partition("?")
        page.locator(f"#{section}:not([hidden])").wait_for(state="attached")
        page.locator("#viewer[open]" if query else "#viewer:not([open])").wait_for(state="attached")
        assert unnamed_controls(page) == [], view
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        assert cut_tables(page) == [], view
    assert page.locator(".strip").evaluate("(strip) => strip.scrollWidth <= strip.clientWidth")


def test_dark_light_and_paper(visit, page_file):
    inks = {}
    for scheme in ("light", "dark"):
        page = visit(page_file, color_scheme=scheme)
        page.locator(".plot .xtick text").first.wait_for()
        script = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
        inks[scheme] = sum(map(int, re.findall(r"\d+", page.evaluate(script))[:3]))
    assert inks["light"] < 380 < inks["dark"]
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert sum(map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).color"))[:3])) < 200


def test_hostile_names_are_text(visit, tmp_path):
    path = tmp_path / "page.html"
    there, seen = groundtruth((A, 0)), detections((A, 1, 0.9, -1, 0, 1, 1))
    made = evaluation(
        [image(HOSTILE, there, seen)], [HOSTILE, "cat " * 80], title=HOSTILE, metrics={HOSTILE: 0.5}
    )
    write_page(path, from_json(made))
    page = visit(path)
    assert page.title() == page.locator("h1").inner_text() == HOSTILE
    page.locator(".plot .trace").first.wait_for()
    page.locator(".plot").first.scroll_into_view_if_needed()
    plot = page.locator(".plot").first.bounding_box()
    page.mouse.move(plot["x"] + 120, plot["y"] + 30)
    page.locator(".hoverlayer .hovertext").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("link", name="Confusions").click()
    page.locator(".ranking button").click()
    page.locator("#gallery button").click()
    assert page.locator("#image-name").inner_text() == HOSTILE
    assert f"instead of {HOSTILE}" in page.locator(".objects").inner_text()
    assert page.locator("b:text-is('bold')").count() == 0
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("names", [[], ["owl"]], ids=["no class", "one class"])
def test_an_evaluation_of_nothing(visit, tmp_path, names):
    path = tmp_path / "page.html"
    images = [image("a.png", groundtruth(), detections(), ap50=None)] if names else []
    write_page(path, from_json(evaluation(images, names, calibration={"error": None, "bins": []})))
    # What means nothing in an address is as if it were not there.
    page = visit(path, "#/comparison?threshold=x&class=7&pair=1>2>3&kind=constructor")
    assert "nothing right at any threshold" in page.locator("#results").inner_text()
    assert numbers(page)["precision"] == NONE
    page.get_by_role("link", name="Confusions").click()
    assert "No class is taken for another" in page.locator("#confusions").inner_text()
    page.get_by_role("link", name="Images").click()
    assert page.locator("#gallery li").count() == len(images)


def test_three_hundred_classes(visit, tmp_path):
    path = tmp_path / "page.html"
    write_page(path, from_json(at_random(300, [f"class {n}" for n in range(300)], num_detections=8)))
    page = visit(path, "#/confusions")
    assert page.locator(".matrix tbody tr").count() == 31
    assert "30 of 300 classes with most confusions" in page.locator("#confusions").inner_text()
    page.get_by_role("button", name="Show 30 more classes").click()
    assert page.locator(".matrix tbody tr").count() == 61
    head = page.locator(".matrix thead th").nth(40)
    page.locator(".matrix").evaluate("(matrix) => matrix.scrollTo(300, 600)")
    top = page.locator(".matrix").bounding_box()["y"]
    assert head.bounding_box()["y"] == pytest.approx(top, abs=2)
    page.get_by_role("link", name="Results").click()
    assert page.get_by_role("region", name="Table of classes").locator("tbody tr").count() == 25
    assert page.get_by_role("list", name="Curves").locator("li").count() == 8


@pytest.fixture(scope="session")
def large_file(tmp_path_factory):
    """A page of 5,000 images with 20 detections each."""
    path = tmp_path_factory.mktemp("large") / "page.html"
    small = preview(160, 80, [(20, 40, 80, 120)])
    made = at_random(5000, [f"class {n}" for n in range(10)], num_detections=20, small=small)
    write_page(path, from_json(made))
    return path


def test_five_thousand_images(visit, large_file):
    page = visit(large_file, "#/images")

    def elements():
        return page.evaluate("document.getElementsByTagName('*').length")

    assert count(page) == "5,000 images"
    assert elements() < 3000
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last = page.locator("#gallery img").last
    assert last.evaluate("image => image.decode().then(() => image.naturalWidth)") == 160
    assert elements() < 3000
    # The same images in the same order stay where they are.
    filter_by(page, "Order", "By name")
    page.evaluate("scrollTo(0, 5000)")
    slide(page, 0.7)
    page.wait_for_url(re.compile(r"threshold=0\.7$"))
    assert page.evaluate("scrollY") == 5000
    filter_by(page, "Kind", "Wrong class")
    slide(page, 0.8)
    assert re.fullmatch(r"1,\d\d\d of 5,000 images", count(page))
    # Names of many boxes find their places.
    page.locator("#gallery button").first.click()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    assert page.locator("#image-about").inner_text().startswith("31 of 1,")
    assert page.locator(".labels span").count() > 0
    page.keyboard.press("Escape")
    page.locator("#viewer").wait_for(state="hidden")
    page.get_by_label("Search by name").fill("0001")
    assert all("0001" in name for name in shown(page))
