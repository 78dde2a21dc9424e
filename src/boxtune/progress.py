"""A bar of progress on standard error, where somebody looks on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rich.console
import rich.progress


@contextmanager
def shown_progress(total: int | None, unit: str) -> Iterator[Callable[[], object]]:
    """Show how many of `total` things are done, if that is known, and how fast; give what is called after each."""
    console = rich.console.Console(stderr=True)
    columns = (
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[speed]}"),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, speed="")

        def advance() -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, speed=f"{speed:.1f} {unit}/s" if speed else "")

        yield advance
