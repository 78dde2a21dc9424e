"""What a server takes at most, of bytes, pixels, images and time; and how it says that something is over it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from boxtune.data.pixels import MAX_PIXELS
from boxtune.errors import BoxtuneError, ConfigError, many

_REQUESTS_HELD = 4
_SECONDS_TO_RETRY = 1


@dataclass(frozen=True)
class Limits:
    """What a server takes at most.

    Attributes:
        request_bytes: of the body of a request. All requests together hold at most four times as much.
        image_bytes: of a file.
        image_pixels: of an image; all images that are decoded at a time have together no more.
        images: in a request.
        waiting: images that are not answered yet, of all requests.
        receive_seconds: for the first lines of a request to arrive, and again for its body.
        answer_seconds: for the answer, from then on.

    Raises:
        ConfigError: for one that is not above 0, or that another one makes useless.
    """

    request_bytes: int = 64 * 2**20
    image_bytes: int = 32 * 2**20
    image_pixels: int = 50_000_000
    images: int = 16
    waiting: int = 64
    receive_seconds: float = 60.0
    answer_seconds: float = 60.0

    def __post_init__(self) -> None:
        for one in fields(self):
            if not 0 < (value := getattr(self, one.name)) < math.inf:
                raise ConfigError(f"the limit {one.name} is {value:g}; give a number above 0")
        if self.image_pixels > MAX_PIXELS:
            most = MAX_PIXELS // 10**6
            raise ConfigError(
                f"the limit image_pixels is {self.image_pixels}; no image of more than {most} megapixels is read"
            )
        if self.images > self.waiting:
            raise ConfigError(
                f"the limit waiting is {self.waiting}; a request may have {many(self.images, 'image')}: give no less"
            )

    @property
    def held_bytes(self) -> int:
        """Of the bodies of all requests together."""
        return _REQUESTS_HELD * self.request_bytes


class RefusedError(BoxtuneError):
    """A request that is not answered as it asks, with the status that says so.

    Attributes:
        status: of HTTP, 400 or above.
        retry_after: in how many seconds the same request may be answered; None where it never will.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


def busy(why: str, status: int = 503) -> RefusedError:
    """Return the refusal of a request for which there is no room now."""
    return RefusedError(status, f"{why}. Try again in a moment", retry_after=_SECONDS_TO_RETRY)


def megabytes(count: int) -> str:
    """Return a number of bytes, such as "32 MiB", as one that was given in MiB reads best."""
    return f"{count / 2**20:g} MiB" if count >= 2**16 else many(count, "byte")


def megapixels(count: int) -> str:
    """Return a number of pixels, such as "50 megapixels"."""
    return f"{count / 10**6:g} megapixels"


class Room:
    """The bytes that requests may hold at the same time; for one thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Give a request the function that takes more bytes; they are free again at the end of the block.

        That function raises RefusedError where there is no room.
        """
        own = 0

        def take(count: int) -> None:
            nonlocal own
            if self.taken + count > self._most:
                raise busy(f"the requests under way hold {megabytes(self._most)}, which is all that they may")
            own += count
            self.taken += count

        try:
            yield take
        finally:
            self.taken -= own
