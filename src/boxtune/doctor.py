"""The verb `doctor`: what is installed, from where, what the machine has, what is missing, and what to do."""

import platform
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import boxtune
from boxtune import drop_in
from boxtune.errors import many
from boxtune.machine import describe, total_bytes
from boxtune.silence_stderr import silenced_stderr


@dataclass(frozen=True)
class Findings:
    """What was found; its text is for people, and for a report of a fault."""

    sections: dict[str, list[tuple[str, str]]]
    """Of facts: what, and how it is."""
    faults: list[str]
    """Each with the way out."""

    def __str__(self) -> str:
        width = max(len(name) for facts in self.sections.values() for name, _ in facts)
        lines = []
        for title, facts in self.sections.items():
            lines += [title, *(f"  {name:<{width}}  {value}" for name, value in facts), ""]
        if not self.faults:
            return "\n".join([*lines, "Nothing is wrong."])
        return "\n".join(
            [*lines, f"{many(len(self.faults), 'fault')}:", *(f"  {one}" for one in self.faults)]
        )


def doctor() -> Findings:
    """Look at the installation and the machine.

    Returns:
        What was found. `faults` is empty where nothing is wrong; an extra that is not installed is no fault.
    """
    faults: list[str] = []
    sections = {
        "boxtune": [
            ("version", boxtune.__version__),
            ("folder", str(Path(boxtune.__file__).parent)),
            ("Python", f"{platform.python_version()}, {sys.executable}"),
        ],
        "Machine": _machine(),
        "Computes with": _backend(faults),
        "Packages": _packages(faults),
        "Extras": list(_extras()),
        "object_detection": _drop_in(faults),
    }
    return Findings(sections, faults)


def _machine() -> list[tuple[str, str]]:
    machine = describe()
    cpu = f"{machine['cpu']}, {many(machine['cores'], 'core')}"
    size = total_bytes()
    return [
        ("system", str(machine["system"])),
        ("CPU", ", ".join([cpu, *machine["instructions"]])),
        ("memory", f"{size / 2**30:.1f} GiB" if size else "unknown"),
    ]


def _backend(faults: list[str]) -> list[tuple[str, str]]:
    """Load Keras and its backend, which is what fails first where packages do not fit together."""
    try:
        with silenced_stderr():
            import keras

            from boxtune.backends import gpus, has_nvidia_driver

            backend, found = keras.backend.backend(), gpus()
    except Exception as error:  # whatever a broken installation raises
        reason = str(error).strip().partition("\n")[0]
        faults.append(
            f"Keras or its backend cannot be loaded: {type(error).__name__}: {reason} In a new environment, run: "
            "pip install boxtune"
        )
        return [("backend", "cannot be loaded")]
    if not found and has_nvidia_driver():
        extra = "boxtune[gpu]" if backend == "tensorflow" else f"the build of {backend} for CUDA"
        install = f'pip install "{extra}"' if backend == "tensorflow" else f"install {extra}"
        faults.append(f"there is a driver of NVIDIA, but {backend} sees no GPU: {install}")
    return [("backend", backend), ("GPUs", ", ".join(found) or "none: it computes on the CPU")]


def _packages(faults: list[str]) -> list[tuple[str, str]]:
    """Return what boxtune requires, and in which versions it is there."""
    facts = []
    for requirement in _requirements():
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        fact, fits = _installed(requirement)
        facts.append((requirement.name, fact))
        if not fits:
            faults.append(f"{requirement.name}: {fact}. Run: pip install {_quoted(requirement)}")
    return facts


def _extras() -> Iterator[tuple[str, str]]:
    """Yield the extras, and what is missing for each."""
    try:
        names = metadata.metadata("boxtune").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return
    requirements = _requirements()
    for extra in names:
        own = [
            one
            for one in requirements
            if one.marker and one.marker.evaluate({"extra": extra}) and not one.marker.evaluate({"extra": ""})
        ]
        missing = [f"{one.name}: {fact}" for one in own for fact, fits in [_installed(one)] if not fits]
        install = f'pip install "boxtune[{extra}]"'
        yield extra, f"{', '.join(missing)}. To have it: {install}" if missing else "installed"


def _requirements() -> list[Requirement]:
    try:
        return [Requirement(one) for one in metadata.requires("boxtune") or []]
    except metadata.PackageNotFoundError:  # a checkout on PYTHONPATH
        return []


def _installed(requirement: Requirement) -> tuple[str, bool]:
    """Return the version of a package and where it is, and whether it is what is required."""
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return "not installed", False
    fits = requirement.specifier.contains(found.version, prereleases=True)
    missing = [extra for extra in requirement.extras if not _has_extra(found, extra)]
    if missing:
        return f"{found.version} without [{', '.join(missing)}]", False
    where = Path(str(found.locate_file("")))
    beside = "" if where == Path(sysconfig.get_path("purelib")) else f" in {where}"
    return f"{found.version}{beside}{'' if fits else f', needed is {requirement.specifier}'}", fits


def _has_extra(found: metadata.Distribution, extra: str) -> bool:
    needed = map(Requirement, found.requires or [])
    return all(
        _installed(one)[1]
        for one in needed
        if one.marker and one.marker.evaluate({"extra": extra}) and not one.marker.evaluate({"extra": ""})
    )


def _quoted(requirement: Requirement) -> str:
    return f'"{requirement.name}{requirement.specifier}"'


def _drop_in(faults: list[str]) -> list[tuple[str, str]]:
    lost, others, elsewhere = drop_in.lost_files(), drop_in.others(), drop_in.elsewhere()
    found = drop_in.faults(lost, others, elsewhere)
    faults += found
    return [
        ("folder", str(elsewhere or drop_in.PACKAGE)),
        ("state", f"{many(len(found), 'fault')}, see below" if found else "boxtune's, and whole"),
    ]
