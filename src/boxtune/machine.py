"""What machine this is: its processor, its memory, and how much of that this process has taken."""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX",
    "asimd": "NEON",
    "asimddp": "dot products",
    "sve": "SVE",
}
"""Sets of instructions on which the speed of a network depends, by the names that Linux gives them."""

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def describe() -> dict[str, Any]:
    """Return what the speed of a model depends on, for people and for JSON."""
    facts = _cpu_facts()
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    return {
        "cpu": facts.get("model name") or _cpu_name() or platform.machine(),
        "cores": _cores(),
        "instructions": [name for flag, name in _INSTRUCTIONS.items() if flag in flags],
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def peak_memory() -> float | None:
    """Return the largest resident set of this process until now, in MiB; None where the system does not tell it."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return None


def total_bytes() -> int | None:
    """Return the memory of this machine, or what the container that this runs in may use; None if nothing says so."""
    sizes = []
    for path in map(Path, _LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdecimal():  # not "max"
            sizes.append(int(text))
    with suppress(AttributeError, ValueError, OSError):  # Windows has none
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(sizes, default=None)


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_facts() -> dict[str, str]:
    """Return what Linux says of the first core."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
        pairs = (line.partition(":") for line in text.splitlines())
        return {name.strip(): value.strip() for name, _, value in pairs}
    return {}


def _cpu_name() -> str:
    """Return the name of the processor where there is no /proc."""
    if sys.platform == "darwin":
        with suppress(OSError):
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor()
