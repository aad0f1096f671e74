"""Tells what figures depend on: the machine and the versions of programs."""

import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path


def described(packages: Iterable[str]) -> list[str]:
    """Lines on the machine and on Debian packages; those that are not installed are left out."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    shown = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${Version}, ", *packages],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return [
        f"machine: {os.cpu_count()} x {models[0] if models else platform.machine()},"
        f" {memory / 2**30:.0f} GiB, Linux {platform.release()}",
        f"programs: {shown.stdout}Python {platform.python_version()}",
    ]
