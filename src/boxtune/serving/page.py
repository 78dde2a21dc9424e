"""The page to try a model on: one text without anything from elsewhere, and what a browser may do with it."""

import base64
import hashlib
import re
from typing import Any

from boxtune.report.page import text_of


def page(about: dict[str, Any]) -> tuple[str, str]:
    """Return the page and its content security policy.

    Args:
        about: the model, as `/model` tells of it.
    """
    text = "".join(text_of("serve_page", title=f"Try {about['model']}", data=about))
    rules = {
        "default-src": "'none'",
        "script-src": _hash_of("script", text),
        "style-src": _hash_of("style", text),
        "img-src": "blob: data:",
        "media-src": "blob: mediastream:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return text, "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash_of(tag: str, text: str) -> str:
    """Return what allows the element of a page that has that tag, and no other, by its content."""
    (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
