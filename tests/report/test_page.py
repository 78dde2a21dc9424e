import json
import re
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxtune.report.page import escaped_json

HOSTILE = '</script><img src=x onerror="alert(1)">&amp;\u2028'


@given(st.text() | st.sampled_from([HOSTILE, "<!--", "]]>", "\ud800"]))
def test_json_keeps_every_string_and_ends_no_script(text):
    escaped = escaped_json({"name": text})
    assert json.loads(escaped) == {"name": text}
    assert escaped.isascii()
    assert not set("<>&") & set(escaped)


@pytest.mark.parametrize("template", ["data_page.html", "evaluation_page.html", "runs_page.html"])
def test_a_page_asks_for_nothing(template):
    files = resources.files("boxtune.report")
    text = "".join(
        files.joinpath(name).read_text(encoding="utf-8")
        for name in (
            template,
            *(f"{part}.js" for part in ("page", "gallery", "charts")),
            "page.css",
            "charts.css",
        )
    )
    assert "default-src 'none'" in text
    # The only address in it is the name of SVG, which is not fetched.
    assert set(re.findall(r"https?://[^\"')\s]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text
    )
