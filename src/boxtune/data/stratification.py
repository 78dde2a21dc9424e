"""Drawing parts of given sizes that resemble each other: every class in each of them, in its proportion.

After Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011 (iterative
stratification), for units of several images, and with every class brought to every part before anything else.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# The class of images without objects. They are shared out like the others, but no part needs them.
BACKGROUND = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """Images that stay together: their names, and how many of them have each class."""

    names: tuple[str, ...]
    classes: Mapping[str, int]


def stratify(units: Sequence[Unit], sizes: Sequence[int], *, seed: int, main: int | None = None) -> list[int]:
    """Draw a part for each unit.

    Every part gets a unit; otherwise its size comes first, then that every class is in it, then its proportion of each
    class. All arithmetic is on integers: the same units in the same order are drawn alike on every machine.

    Args:
        units: at least as many as parts.
        sizes: for each part the number of images it should have; their sum is that of all images.
        seed: of the draw.
        main: the part for classes that are in one unit only; None if that may be any.
    """
    # Python promises the same numbers for a seed for ever, but not the same shuffle. Large units come first, while
    # there is room for them.
    rng = random.Random(seed)
    drawn = [rng.random() for _ in units]
    order = sorted(range(len(units)), key=lambda unit: (-len(units[unit].names), drawn[unit]))
    drawing = _Drawing(units, sizes, order, main)
    drawing.reserve()
    drawing.distribute()
    drawing.level()
    drawing.fill_empty()
    return drawing.parts


class _Drawing:
    """Units on their way to parts.

    Attributes:
        parts: the part of each unit, -1 while it has none.
        room: for each part how many images it still takes; below 0 if it has too many.
        main: see `stratify`.
        members: the units of each class in the order of the draw; see `_members` for that of the classes.
        have: how many units of each class each part has.
        needed: how many images of each class each part still needs, times the number of all images.
    """

    def __init__(
        self, units: Sequence[Unit], sizes: Sequence[int], order: Sequence[int], main: int | None
    ) -> None:
        self.units = units
        self.order = order
        self.main = main
        self.num_images = sum(sizes)
        self.parts = [-1] * len(units)
        self.room = list(sizes)
        self.members = _members(units, order)
        self.have = {name: [0] * len(sizes) for name in self.members}
        totals = {
            name: sum(units[unit].classes[name] for unit in self.members[name]) for name in self.members
        }
        self.needed = {name: [total * size for size in sizes] for name, total in totals.items()}

    def reserve(self) -> None:
        """Put one unit of each class into each part, the main part last, as long as there are units and room."""
        for name, members in self.members.items():
            by_room = sorted(range(len(self.room)), key=lambda part: (part == self.main, -self.room[part]))
            for part in by_room if self.main is None or len(members) > 1 else [self.main]:
                if name != BACKGROUND and not self.have[name][part]:
                    self._put_best(members, part)

    def distribute(self) -> None:
        """Put each unit that is left where the rarest of its classes is needed most."""
        for name, members in self.members.items():
            for unit in members:
                if self.parts[unit] < 0:
                    self._put(unit, self._where_needed(unit, name))

    def level(self) -> None:
        """Move units, large ones first, where that brings the parts nearer to their sizes and takes no class away."""
        for unit in self.order:
            size, source = len(self.units[unit].names), self.parts[unit]
            target = _roomiest(self.room)
            before = abs(self.room[source]) + abs(self.room[target])
            is_nearer = abs(self.room[source] + size) + abs(self.room[target] - size) < before
            if is_nearer and all(self.have[name][source] > 1 for name in self.units[unit].classes):
                self._move(unit, target)

    def fill_empty(self) -> None:
        """Move a unit to each part that has none, the smallest of those that are not alone."""
        counts = [self.parts.count(part) for part in range(len(self.room))]
        for part in [part for part, count in enumerate(counts) if not count]:
            unit = next(unit for unit in reversed(self.order) if counts[self.parts[unit]] > 1)
            counts[self.parts[unit]] -= 1
            counts[part] += 1
            self._move(unit, part)

    def _fits(self, unit: int, part: int) -> bool:
        return len(self.units[unit].names) <= self.room[part]

    def _put_best(self, members: Sequence[int], part: int) -> None:
        """Put that of the units into the part which is worth most there; none if none is free or fits."""
        free = [unit for unit in members if self.parts[unit] < 0 and self._fits(unit, part)]
        if free:
            self._put(max(free, key=lambda unit: self._worth(unit, part)), part)

    def _worth(self, unit: int, part: int) -> tuple[int, int]:
        """Return how many classes the unit brings to the part that other parts can have too, and how many others."""
        names = self.units[unit].classes
        lone = sum(len(self.members[name]) == 1 for name in names)
        new = sum(not self.have[name][part] for name in names)
        return new - lone, lone if part == self.main else -lone

    def _where_needed(self, unit: int, name: str) -> int:
        """Return the part that needs the class most among those with room for the unit, if there are any."""
        fitting = [part for part in range(len(self.room)) if self._fits(unit, part)]
        if not fitting:
            return _roomiest(self.room)
        return max(fitting, key=lambda part: (self.needed[name][part], self.room[part]))

    def _put(self, unit: int, part: int, sign: int = 1) -> None:
        """Put a unit into a part, or with sign -1 take it out."""
        self.parts[unit] = part
        self.room[part] -= sign * len(self.units[unit].names)
        for name, count in self.units[unit].classes.items():
            self.have[name][part] += sign
            self.needed[name][part] -= sign * count * self.num_images

    def _move(self, unit: int, part: int) -> None:
        self._put(unit, self.parts[unit], sign=-1)
        self._put(unit, part)


def _members(units: Sequence[Unit], order: Sequence[int]) -> dict[str, list[int]]:
    """Return the units of each class in the given order.

    The rarest class comes first, but those of one unit behind those that can be in several parts, and background last.
    """
    members: dict[str, list[int]] = {}
    for unit in order:
        for name in units[unit].classes:
            members.setdefault(name, []).append(unit)

    def rank(name: str) -> tuple[bool, bool, int, bytes]:
        count = len(members[name])
        return name == BACKGROUND, count == 1, count, name.encode(errors="surrogatepass")

    return {name: members[name] for name in sorted(members, key=rank)}


def _roomiest(room: Sequence[int]) -> int:
    return max(range(len(room)), key=room.__getitem__)
