"""Which machine this is: enough to keep two machines' times apart, nothing that names an owner."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path

from compare_ag.host.environment import cpu_model
from compare_ag.records.sweeps import Machine

ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
VARIABLE = "COMPARE_AG_MACHINE"
"""names the machine where its own identity is not stable, as in a container that is made anew each time"""


@cache
def this_machine() -> Machine:
    """This machine. Its id is a digest of its identity and hardware, from which neither can be read back."""
    import psutil

    memory = int(psutil.virtual_memory().total)
    facts = (_identity(), cpu_model(), platform.machine(), os.cpu_count() or 1)
    return Machine(
        id=hashlib.sha256(repr(("compare-ag", *facts)).encode()).hexdigest()[:8],
        cpu=cpu_model(),
        system=f"{platform.system()} {platform.machine()}",
        logical_cpus=os.cpu_count() or 1,
        memory_bytes=memory,
    )


def _identity() -> str:
    """What the system calls itself: its machine-id, else its name in the network."""
    if given := os.environ.get(VARIABLE):
        return given
    for path in ID_FILES:
        try:
            if text := path.read_text(encoding="ascii").strip():
                return text
        except (OSError, UnicodeDecodeError):
            continue
    return platform.node()
