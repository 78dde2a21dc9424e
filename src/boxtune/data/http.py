"""What is said of URLs and of downloads that fail, without the secrets that a URL may hold."""

from urllib.parse import urlsplit

import requests

from boxtune.errors import printable

TIMEOUT = (20, 60)
"""Seconds to connect, and to wait for the next bytes."""


def without_secrets(url: str) -> str:
    """Return a URL without user, password and query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return printable(f"{parts.scheme}://{host}{parts.path}")


def failure(error: requests.RequestException) -> str:
    """Say why a download failed."""
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not answer"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(
        error, (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)
    ):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "there is no connection"
    return printable(str(error))
