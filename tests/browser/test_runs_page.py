"""The page of the runs of a project in a real browser."""

import dataclasses

import pytest

from boxtune.metrics.bootstrap import Interval
from boxtune.metrics.comparison import Difference
from boxtune.report.runs_page import Run, write_page
from boxtune.run_history import RunHistory, Size
from boxtune.runs import RunSummary
from browser_pages import DESKTOP, HOSTILE, PHONE, cut_tables, plain, unnamed_controls

NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
CHANGES = [f"images added: 4 ({HOSTILE})"]
HISTORY = RunHistory(
    model="ssd, 320 x 320 pixels",
    start="random weights",
    time="2026-01-02T03:04:05+0000",
    command="boxtune retrain photos --model_dir owls",
    batch_size=8,
    parts={"training": Size(20, 31), "evaluation": Size(5, None)},
    steps=[100, 200],
    losses=[2.0, 1.5],
    evaluated=[100, 200],
    mean_average_precision=[0.4, 0.6],
    ap50=[0.7, 0.8],
    evaluation_losses=[1.6, 1.2],
)
FIRST = RunSummary(1, "owls", "random weights", [], ["20", "5"], 3, 200, 0.6, Interval(0.5, 0.7), None)
SECOND = RunSummary(
    2,
    "owls/runs/2",
    "owls/best",
    [f"images added: 4 ({HOSTILE})"],
    ["23", "6"],
    3,
    50,
    0.62,
    Interval(0.52, 0.72),
    0.59,
)
UNFINISHED = RunSummary(
    3, "owls/runs/3", "owls/runs/2/best", ["seed: 0 → 1"], ["?", "6"], None, None, None, None, None
)
DIFFERENCE = Difference("mAP", 0.59, 0.62, 0.03, Interval(-0.01, 0.07), 0.2, False)


@pytest.fixture
def page_file(tmp_path):
    later = dataclasses.replace(
        HISTORY, steps=[50], losses=[1.4], evaluated=[50], mean_average_precision=[0.62]
    )
    runs = [Run(FIRST, HISTORY, None), Run(SECOND, later, DIFFERENCE), Run(UNFINISHED, None, None)]
    write_page(tmp_path / "runs.html", "owls", runs, best=1)
    return tmp_path / "runs.html"


def test_all_runs_on_the_same_images_are_a_column(visit, tmp_path):
    rows = [dataclasses.replace(FIRST, same_images=0.55), dataclasses.replace(SECOND, same_images=0.62)]
    write_page(tmp_path / "runs.html", "owls", [Run(row, HISTORY, None) for row in rows], best=1)
    table = visit(tmp_path / "runs.html", **DESKTOP).get_by_role("region", name="Runs", exact=True)
    assert plain(table.locator("thead th").last.inner_text()) == "Same images"
    shown = [plain(row.locator("td").last.inner_text()) for row in table.locator("tbody tr").all()]
    assert shown == ["0.550", "0.620"]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_changed_from_run_to_run(visit, page_file, size):
    page = visit(page_file, **size)
    assert page.title() == "Runs of owls"
    rows = page.get_by_role("region", name="Runs", exact=True).locator("tbody tr")
    cells = [[plain(cell) for cell in row.locator("td").all_inner_texts()] for row in rows.all()]
    assert cells == [
        ["Run 1", "20 + 5", "3", "200", "0.600 0.500 to 0.700", NONE, NONE],
        [
            "Run 2 the best", "23 + 6", "3", "50", "0.620 0.520 to 0.720", "0.590",
            f"+0.030 {MINUS}0.010 to +0.070 may be chance",
        ],
        ["Run 3", "? + 6", NONE, "not ended", NONE, NONE, NONE],
    ]  # fmt: skip
    curves = page.get_by_label("mAP", exact=True).locator(".plot")
    curves.locator(".scatterlayer .trace").nth(1).wait_for()
    assert (
        curves.get_attribute("aria-label") == "mAP by step. Run 1 0.600 at step 200, Run 2 0.620 at step 50"
    )
    second = page.get_by_label("Run 2", exact=True)
    assert f"images added: 4 ({HOSTILE})" in second.inner_text()
    assert "owls/best" in second.inner_text()
    assert "Started" not in page.get_by_label("Run 3", exact=True).inner_text()
    assert unnamed_controls(page) == []
    assert cut_tables(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
