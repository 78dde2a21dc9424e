"""A data set as people and programs read of it: counts and findings, as text and as JSON."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from boxtune.data.cutting import Counts, Cutting
from boxtune.data.findings import Action, Finding, Severity, by_kind, flags_of
from boxtune.data.image_record import ImageRecord
from boxtune.data.label_map import LabelMap
from boxtune.data.preparation import Prepared, class_counts
from boxtune.errors import escaped, many, printable
from boxtune.metrics.label_doubts import LabelDoubts
from boxtune.report.label_doubts import doubt_lines, doubts_json

JSON_NAME = "report.json"
"""Beside the records: everything that was counted and found."""

_NUM_EXAMPLES = 3
_MOST_CLASSES = 50
_LINE = 90
_COLUMN = 12


def text(title: str, prepared: Prepared, verdict: str, doubts: LabelDoubts | None = None) -> str:
    """Return a data set as a page for people: a title, counts, findings, doubts, and a verdict behind their summary."""
    counts, findings = counts_table(prepared.parts, prepared.label_map), finding_lines(prepared.findings)
    doubted = doubt_lines(doubts, prepared.images) if doubts else []
    lines = [title, "", *counts, *findings, *doubted, "", f"{summary(prepared.findings)}; {verdict}"]
    return escaped("\n".join(lines))


def counts_table(parts: Mapping[str, Sequence[ImageRecord]], label_map: LabelMap) -> list[str]:
    """Return lines that count images, objects, and the objects of each class, a column for each part.

    They fit a terminal: long names are shortened, and of very many classes those of most objects are shown.
    """
    counts = {part: class_counts(images, label_map) for part, images in parts.items()}
    totals = sum(counts.values(), Counter[str]())
    shown = set(sorted(label_map.names, key=lambda name: -totals[name])[:_MOST_CLASSES])
    rest = [name for name in label_map.names if name not in shown]
    rows = [("images", [len(images) for images in parts.values()])]
    rows += [("objects", [sum(len(image.objects) for image in images) for images in parts.values()])]
    rows += [
        (f"  {name}", [count[name] for count in counts.values()]) for name in label_map.names if name in shown
    ]
    if rest:
        sums = [sum(count[name] for name in rest) for count in counts.values()]
        rows += [(f"  ... and {many(len(rest), 'class', 'classes')} with fewer", sums)]
    widest = _LINE - _COLUMN * len(parts)
    names = [_shortened(printable(name), widest) for name, _ in rows]
    width = max(map(columns, names))
    header = " " * width + "".join(f"{part:>{_COLUMN}}" for part in parts)
    return [
        header,
        *(
            name + " " * (width - columns(name)) + "".join(f"{n:>{_COLUMN},}" for n in values)
            for name, (_, values) in zip(names, rows, strict=True)
        ),
    ]


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: characters of East Asia two each, accents none."""
    widths = (
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
    return sum(widths)


def _shortened(text: str, width: int) -> str:
    """Return a text in at most `width` columns: of a longer one, both ends."""
    if columns(text) <= width:
        return text
    start, end = text, text
    while columns(start) > (width - 3) // 2:
        start = start[:-1]
    while columns(end) > width - 3 - columns(start):
        end = end[1:]
    return f"{start}...{end}"


def finding_lines(findings: Iterable[Finding], *, num_examples: int = _NUM_EXAMPLES) -> list[str]:
    """Return the findings kind by kind, the worst first: what it is, what is done about it, and examples."""
    order, lines = list(Severity), []
    groups = sorted(by_kind(findings).items(), key=lambda one: one[0].action is not Action.REFUSE)
    for kind, group in sorted(groups, key=lambda one: order.index(one[0].severity)):
        lines += ["", f"{kind.severity}: {kind.name} ({len(group):,}): {kind.action}. {kind.advice}"]
        lines += [f"  {finding}" for finding in group[:num_examples]]
        if len(group) > num_examples:
            lines.append(f"  ... and {len(group) - num_examples:,} more")
        if flags := flags_of(group):
            lines.append(f"  to copy: {flags}")
    return lines


def summary(findings: Iterable[Finding]) -> str:
    """Return how many findings of each severity there are, in one line."""
    counts = dict.fromkeys(Severity, 0)
    for finding in findings:
        counts[finding.kind.severity] += 1
    return ", ".join(many(count, severity) for severity, count in counts.items())


def to_json(
    prepared: Prepared,
    files: Mapping[str, Sequence[str]] | None = None,
    doubts: LabelDoubts | None = None,
    tiles: dict[str, Any] | None = None,
) -> str:
    """Return counts, every finding and every doubt for programs.

    `files` names what was written of each part, `tiles` is what `tiles_json` returns where images were cut.
    """
    of_finding = ("file", "location", "image", "message", "flags")
    content: dict[str, Any] = {
        "version": 2,
        "format": ", ".join(prepared.reading.format_names),
        "annotated_images": prepared.reading.num_annotations,
        "refusal": prepared.refusal,
        "parts": {
            part: _part(images, prepared.label_map) | ({"files": list(files[part])} if files else {})
            for part, images in prepared.parts.items()
        },
        "kinds": [asdict(kind) | {"count": len(group)} for kind, group in by_kind(prepared.findings).items()],
        "findings": [
            {"kind": finding.kind.name} | {key: getattr(finding, key) for key in of_finding}
            for finding in prepared.findings
        ],
    }
    if tiles:
        content["tiles"] = tiles
    if doubts:
        content["doubts"] = doubts_json(doubts, prepared.images)
    return json.dumps(content, indent=2) + "\n"


def tiles_json(cutting: Cutting, counts: Mapping[str, Counts]) -> dict[str, Any]:
    """Return how images were cut into tiles, and what became of those of each part."""
    return {
        "tile": cutting.tiling.side,
        "overlap": cutting.tiling.overlap,
        "min_visible": cutting.min_visible,
        "parts": {part: asdict(one) for part, one in counts.items()},
    }


def _part(images: Sequence[ImageRecord], label_map: LabelMap) -> dict[str, object]:
    counts = class_counts(images, label_map)
    return {
        "images": len(images),
        "objects": sum(len(image.objects) for image in images),
        "classes": {name: counts[name] for name in label_map.names},
    }
