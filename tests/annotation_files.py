"""Reading small folders of annotations with one format, and what is wrong with them made in every way."""

import copy
import json
import math

from boxtune.data.findings import Findings
from boxtune.data.listing import Listing, list_files

JUNK = (None, True, -7, 1e400, math.nan, 10**400, "", "x", "\ud800", [], [[]], [None], {}, {"": []})


def read(one, folder):
    """Read all files of a folder that could be of a format; return annotations and findings."""
    findings = Findings(folder)
    listing = list_files(folder, findings)
    return list(one.annotations(listing.ending(one.suffixes), listing, findings)), findings.items


def read_file(one, path, *others):
    """Read one file of a data set, which has `others`; return annotations and findings."""
    findings = Findings(path.parent)
    annotations = list(one.annotations([path], Listing(path.parent, (path, *others)), findings))
    return annotations, findings.items


def read_json(one, folder, document, name="a.json"):
    """Read a JSON document as a file of a format; return annotations and findings."""
    (folder / name).write_text(json.dumps(document), encoding="utf-8")
    return read(one, folder)


def recognised(one, folder):
    """Return the names of the files in a folder that a format recognises."""
    paths = list_files(folder, Findings(folder)).ending(one.suffixes)
    return [path.name for path in paths if one.recognises(path)]


def locations(findings):
    return [(finding.kind, finding.location) for finding in findings]


def spoiled(document):
    """Return copies of a JSON document in which each value in turn is replaced by each piece of junk, and the junk."""
    for path in _paths(document):
        for junk in JUNK:
            copied = copy.deepcopy(document)
            yield _replaced(copied, path, junk), junk


def assert_survives(one, folder, document):
    """Assert that no spoiled document raises an error, and that no object is lost without a finding.

    What an empty or missing value stands for is up to the format, so there it may be one object less.
    """
    annotations, findings = read_json(one, folder, document)
    assert findings == []
    num_objects = sum(len(annotation.objects) for annotation in annotations)
    assert num_objects > 0
    num_files = 0
    for changed, junk in spoiled(document):
        annotations, findings = read_json(one, folder, changed)
        one.recognises(folder / "a.json")
        objects = [item for annotation in annotations for item in annotation.objects]
        assert all(map(math.isfinite, (edge for item in objects for edge in item.edges)))
        assert all(item.class_name.encode() for item in objects)
        sizes = [annotation.size for annotation in annotations if annotation.size]
        assert all(isinstance(side, int) and side > 0 for size in sizes for side in size)
        if len(objects) < num_objects:
            unnamed = [
                annotation for annotation in annotations if not annotation.filename
            ]  # told by the look-up
            assert findings or unnamed or not junk or junk is True, changed
        for annotation in annotations:
            losses = [f for f in findings if f.kind.action == "skip the object"]
            assert annotation.complete or losses
        num_files += 1
    assert num_files >= 10 * len(JUNK)


def _paths(value):
    yield ()
    children = (
        enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    )
    for key, child in children:
        yield from ((key, *path) for path in _paths(child))


def _replaced(document, path, junk):
    if not path:
        return junk
    *above, last = path
    value = document
    for key in above:
        value = value[key]
    value[last] = junk
    return document
