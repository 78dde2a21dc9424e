from pathlib import Path

from boxtune.data import findings as kinds
from boxtune.data.findings import KINDS, Action, Findings, Severity, SkipError, by_kind
from conftest import REPOSITORY


def test_every_kind_is_documented():
    documented = (REPOSITORY / "docs" / "data.md").read_text()
    for kind in KINDS:
        assert f"| {kind.name} | {kind.severity} | {kind.action} | {kind.advice} |" in documented


def test_names_are_unique_and_loss_is_an_error():
    assert len({kind.name for kind in KINDS}) == len(KINDS) > 30
    for kind in KINDS:
        if kind.action in (Action.REFUSE, Action.SKIP_IMAGE):
            assert kind.severity is Severity.ERROR
        if kind.severity is Severity.NOTE:
            assert kind.action is Action.KEEP


def test_a_skip_becomes_a_finding_and_work_goes_on():
    findings = Findings(Path("set"))
    with findings.skipping(Path("set/a/b.xml"), location="line 3", image="b.jpg"):
        raise SkipError(kinds.BOX_OUTSIDE, "far off.")
    with findings.skipping(Path("set/c.xml"), location="line 3"):
        raise SkipError(kinds.BOX_OUTSIDE, "far off.", "line 4")
    one, other = findings.items
    assert (one.where, one.message, one.image) == ("a/b.xml, line 3", "far off.", "b.jpg")
    assert other.where == "c.xml, line 4"
    assert list(by_kind(findings.items)) == [kinds.BOX_OUTSIDE]


def test_what_is_shown_is_printable_and_short():
    findings = Findings(Path("set"))
    findings.add(kinds.FOREIGN, Path("set/\udcff\n.xml"), "\x1b[31m" + "x" * 1000)
    (finding,) = findings.items
    assert finding.file == r"\udcff\n.xml"
    assert finding.message.startswith(r"\x1b[31mxxx")
    assert len(finding.message) < 420
