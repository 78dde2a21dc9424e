"""Ending early, on Ctrl-C or SIGTERM, with all that is under way written."""

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Self, TypeVar

Item = TypeVar("Item")


class Interruption:
    """While it is entered, the first SIGINT or SIGTERM is noted; the second raises KeyboardInterrupt.

    Outside the main thread, which alone receives signals, it does nothing.
    """

    def __init__(self) -> None:
        self.is_there = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def before(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items until it is there."""
        for item in items:
            if self.is_there:
                return
            yield item

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_there:
            raise KeyboardInterrupt
        self.is_there = True
