"""What tests of pages ask a browser."""

HOSTILE = "</script><img src=x onerror=\"alert('x')\"><b>bold</b>&amp;"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def shown(page):
    """Return the names below the images of the gallery."""
    return page.locator("#gallery .name").all_inner_texts()


def count(page):
    return page.locator("#count").inner_text()


def plain(text):
    """Return a text on one line, with x for the sign of multiplication."""
    return " ".join(text.replace("\N{MULTIPLICATION SIGN}", "x").split())


def filter_by(page, label, option):
    page.get_by_label(label, exact=True).select_option(label=option)


def cut_tables(page):
    """Return the names of the tables in view that are wider than their place, and so cut off."""
    return page.locator(".scroll").evaluate_all(
        "all => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.getAttribute('aria-label'))"
    )


def unnamed_controls(page):
    """Return the controls and images that a screen reader could not name."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    roles = "button link combobox searchbox textbox checkbox slider image dialog navigation tab DisclosureTriangle"
    return [
        (node["role"]["value"], node.get("description"))
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in roles.split()
        and not node.get("name", {}).get("value", "").strip()
    ]
