"""``compare-ag new``: a complete, passing plugin distribution to start from.

`distribution/` is that plugin, written for the name ``mybackend``; a copy differs from it in names alone. So what is
tested here is what an author gets, and there is no template language in which it could be wrong.
"""

from __future__ import annotations

import importlib.util
import keyword
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from compare_ag.host.discovery import discover, is_name
from compare_ag.problem import ProblemError

SOURCE = Path(__file__).parent / "distribution"
FILES = ("README.md", "compare_ag_mybackend.py", "pyproject.toml", "test_mybackend.py")
"""all of them: whatever else a tool may have left beside them is not copied"""


@dataclass(frozen=True)
class Names:
    """What the placeholder's names become."""

    backend: str
    """what people type: ``my-engine``"""

    @property
    def distribution(self) -> str:
        """What pip calls it."""
        return f"compare-ag-{self.backend}"

    @property
    def module(self) -> str:
        """What Python imports."""
        return f"compare_ag_{self.backend.replace('-', '_')}"

    @property
    def backend_class(self) -> str:
        """``MyEngine``."""
        return "".join(part.capitalize() for part in self.backend.replace("_", "-").split("-"))

    def applied(self, text: str) -> str:
        """``text`` with every name of the placeholder replaced; longer ones first, as they contain the shorter."""
        text = text.replace("compare_ag_mybackend", self.module).replace("compare-ag-mybackend", self.distribution)
        text = text.replace("test_mybackend", f"test_{self.backend.replace('-', '_')}")
        return text.replace("MyBackend", self.backend_class).replace("mybackend", self.backend)


def create(name: str, directory: Path | None = None) -> tuple[Path, list[Path]]:
    """Write a plugin distribution for the backend ``name``; return its folder and the files in it.

    directory: absent or empty; None is ``compare-ag-NAME`` in the current folder. Raises `ProblemError` for a name that
    cannot be one, or is taken, and for a folder that holds something; nothing is written then.
    """
    names = Names(name)
    _check(names)
    folder = directory or Path(names.distribution)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ProblemError(f"{folder} already exists and is not empty; name another folder with --directory")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{names.distribution}.") as fresh:
            for file in FILES:
                text = (SOURCE / file).read_text(encoding="utf-8")
                (Path(fresh) / names.applied(file)).write_text(names.applied(text), encoding="utf-8")
            if folder.exists():
                folder.rmdir()
            shutil.copytree(fresh, folder)
    except OSError as error:
        raise ProblemError(f"cannot write {folder}: {error.strerror or error}") from None
    return folder, [folder / names.applied(file) for file in FILES]


def _check(names: Names) -> None:
    if not is_name(names.backend):
        raise ProblemError(
            f"{names.backend!r} cannot be a backend's name: a lower-case letter, then up to 31 letters, digits, - or _"
        )
    if keyword.iskeyword(names.backend_class) or not names.backend_class.isidentifier():
        raise ProblemError(f"{names.backend!r} gives no class name; choose another")
    taken = next((offer for offer in discover().offers if offer.name == names.backend), None)
    if taken is not None:
        where = f"from {taken.distribution}"
        raise ProblemError(f"there is a backend {names.backend!r} already, {where}; choose another name")
    if importlib.util.find_spec(names.module) is not None:
        raise ProblemError(f"there is a module {names.module} already; choose another name")
