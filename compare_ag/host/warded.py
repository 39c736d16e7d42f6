"""Another program that loads a plugin, such as a bare import, and leaves nothing behind: see `worker.warden`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from compare_ag.worker.warden import CLEANING_SECONDS


class Warded:
    """Another program that loads a plugin, under its own warden: `end` ends all processes that it has started."""

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        folder: str | Path,
        pass_fds: tuple[int, ...] = (),
        outputs: tuple[IO[bytes], IO[bytes]] | None = None,
    ) -> None:
        """Start it; stdout and stderr go to ``outputs``, or nowhere. Raises `OSError`."""
        lifeline, self._lifeline = os.pipe()
        stdout, stderr = outputs or (subprocess.DEVNULL, subprocess.DEVNULL)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "compare_ag.worker.warden", str(lifeline), *command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(lifeline, *pass_fds),
                start_new_session=True,
                env=environment,
                cwd=folder,
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(lifeline)

    def wait(self, seconds: float) -> int | None:
        """The exit code; None where the program has not ended within so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def end(self) -> None:
        """Kill the remaining processes."""
        os.close(self._lifeline)
        if self.wait(CLEANING_SECONDS + 0.5) is None:
            self._process.kill()
            self._process.wait()
