"""A real browser for pages that are written to the disk."""

import os
import shutil

import pytest

import patience

NAMES = ("chromium", "chromium-browser", "google-chrome")
# None of them goes to the network by itself; as root there is no sandbox.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",  # a camera that shows a test picture
    "--use-fake-ui-for-media-stream",
)


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium with an empty profile."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        message = f"needs a browser: none of {', '.join(NAMES)} is on this machine"
        if os.environ.get("BOXTUNE_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=list(ARGUMENTS), timeout=1000 * patience.SECONDS
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open a file as a tab of its own; in the end no tab has complained or asked for anything but its file."""
    contexts, complaints, requests = [], [], []

    def opened(path, fragment="", *, width=1280, height=800, color_scheme="light"):
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=color_scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # on a busy machine Plotly takes seconds
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append((request.url, path.as_uri())))
        page.goto(path.as_uri() + fragment)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url, own in requests if not url.startswith(("data:", own))] == []
