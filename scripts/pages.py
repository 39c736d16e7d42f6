"""Keeps the documentation's pages true: runs their blocks in order and compares, or writes, what they print.

    python scripts/pages.py            # run every page and write what its blocks print, and the glossary
    python scripts/pages.py --check    # change nothing; exit 1 and show what differs

A page is read as a reader follows it: all its `python` blocks are one session in one process, its `console` blocks are
typed in one working directory. What a block prints stands in a `text` block directly below it, exactly, and nothing
else stands there; a `python` block that raises shows the last line of the traceback. A console block may go without
its output (times differ from machine to machine), but its commands must exit with 0, or with the code that a comment
at its end states: `# exits with 1`.

Between `<!-- NAME -->` and `<!-- /NAME -->` stands what the program itself says, see `GENERATED`: the glossary of the
reports, what every command says with `--help`, and the docstrings of the public names.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import inspect
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

import compare_ag
from compare_ag.report.glossary import COMMANDS, GLOSSARY

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("autograd-by-comparison.md", "continuous-integration.md", "python.md", "setting-up.md", "sweeps.md")
"""of docs/: those whose blocks are one session"""

_CODE = re.compile(
    r"^```(?P<language>python|console)\n(?P<code>.*?)^```\n(?P<shown>\n```text\n(?P<output>.*?)^```\n)?", re.M | re.S
)
_EXITS = re.compile(r"# exits with (\d+)$")


class Block(NamedTuple):
    """One runnable block of a page."""

    language: str
    code: str
    output: str | None
    """what the page says that it prints; None where nothing is shown"""
    span: tuple[int, int]
    """where code and output stand in the page"""


class PageError(Exception):
    """A block of a page does not run."""


def blocks(page: str) -> list[Block]:
    """The runnable blocks of a page's text, in reading order."""
    return [Block(m["language"], m["code"], m["output"], m.span()) for m in _CODE.finditer(page)]


# --- running ------------------------------------------------------------------------------------------------


def execute(page: str, name: str = "page") -> list[str | None]:
    """Run all blocks in this process and a temporary directory; what each prints, None where it does not count."""
    session: dict[str, Any] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        found: list[str | None] = []
        for number, block in enumerate(blocks(page), 1):
            if block.language == "python":
                found.append(_python(block.code, f"<block {number} of {name}>", session))
            else:
                printed = "".join(map(_console, _commands(block.code)))
                found.append(None if block.output is None else printed)
        return found


def _python(code: str, name: str, session: dict[str, Any]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(code, name, "exec"), session)
        except Exception as error:  # noqa: BLE001  # a page shows errors, too: it says which
            printed.write(traceback.format_exception_only(error)[-1])
    return printed.getvalue()


def _commands(code: str) -> Iterator[str]:
    """The lines after `$ `, each with the lines that a backslash at its end continues."""
    for match in re.finditer(r"^\$ ((?:.*\\\n)*.*)$", code, re.M):
        yield match[1]


def _console(command: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=environment)
    stated = _EXITS.search(command)
    if done.returncode != (int(stated[1]) if stated else 0):
        raise PageError(f"{command!r} exits with {done.returncode}:\n{done.stdout}{done.stderr}")
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def in_process_of_its_own(page: Path) -> list[str | None]:
    """`execute` where no other page's imports, threads and warnings are; every warning is an error."""
    command = [sys.executable, "-W", "error", __file__, "--outputs", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PageError(done.stderr)
    outputs: list[str | None] = json.loads(done.stdout.splitlines()[-1])
    return outputs


# --- comparing and writing ----------------------------------------------------------------------------------


def written(page: str, outputs: Sequence[str | None]) -> str:
    """The page with these outputs, one for each of its blocks, in place of those that it shows."""
    parts, end = [], 0
    for block, output in zip(blocks(page), outputs, strict=True):
        begin, after = block.span
        shown = f"\n```text\n{output}```\n" if output else ""
        parts += [page[end:begin], f"```{block.language}\n{block.code}```\n", shown]
        end = after
    return "".join([*parts, page[end:]])


def glossary() -> str:
    """The glossary in Markdown: a heading and a definition list in a table for each section."""
    parts = []
    for section, entries in {**GLOSSARY, **COMMANDS}.items():
        rows = "".join(f"| {term} | {text} |\n" for term, text in entries.items())
        parts.append(f"### {section}\n\n| column or word | meaning |\n|---|---|\n{rows}\n")
    return "".join(parts)


def commands() -> str:
    """Every command's help and options, a heading and a table for each."""
    from compare_ag.cli.group import cli

    parts = []
    context = click.Context(cli, info_name="compare-ag")
    for name, command, own in _walk(cli, context):
        told = " ".join((command.help or "").split())
        usage = " ".join(command.collect_usage_pieces(own))
        rows = [record for parameter in command.params if (record := parameter.get_help_record(own))]
        table = "".join(f"| `{_cell(option)}` | {_cell(said)} |\n" for option, said in rows)
        parts.append(
            f"## {name}\n\n{told}\n\n`compare-ag {name} {usage}`\n\n| option | meaning |\n|---|---|\n{table}\n"
        )
    return "".join(parts)


def _walk(
    group: click.Group, context: click.Context, before: str = ""
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command below a group with its full name and its context, a group before its own commands."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        own = click.Context(command, info_name=name, parent=context)
        yield f"{before}{name}", command, own
        if isinstance(command, click.Group):
            yield from _walk(command, own, f"{before}{name} ")


def _cell(text: str) -> str:
    """Text for a cell of a table, in which a bar would end it and an angle bracket begin a tag."""
    return " ".join(text.split()).replace("|", "¦").replace("<", "‹").replace("*", "\\*")


def api() -> str:
    """Every public name with its signature and its docstring, as `help` prints it."""
    parts = []
    for name in sorted(compare_ag.__all__, key=str.lower):
        value = getattr(compare_ag, name)
        if name.startswith("__"):
            continue
        ours = inspect.isclass(value) or inspect.isfunction(value)  # pluggy's own words are another project's
        told = inspect.getdoc(value) or "" if ours else "Marks an implementation of a hook; the author guide shows it."
        shown = str(inspect.signature(value)) if inspect.isfunction(value) else ""
        parts.append(f"### {name}\n\n````text\n{name}{shown}\n\n{told}\n````\n\n")
    return "".join(parts)


GENERATED: dict[str, tuple[str, Callable[[], str]]] = {
    "methods.md": ("glossary", glossary),
    "commands.md": ("commands", commands),
    "python.md": ("api", api),
}
"""page -> the mark, and what stands between it and its end"""


def generated(name: str, page: str) -> str:
    """The page of this name with what the program says between its marks."""
    mark, make = GENERATED[name]
    between = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.S)
    return between.sub(lambda match: f"{match[1]}\n{make()}{match[2]}", page)


def differences(name: str, page: str, made: str) -> str:
    """A unified diff from the page to what was made anew; empty where they are the same."""
    return "".join(difflib.unified_diff(page.splitlines(True), made.splitlines(True), name, f"{name}, made anew"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check or write all pages."""
    parser = argparse.ArgumentParser(description="Run the blocks of the documentation's pages.")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 where something differs")
    parser.add_argument("--outputs", type=Path, metavar="PAGE", help="print the outputs of one page as JSON")
    asked = parser.parse_args(arguments)
    if asked.outputs is not None:
        print(json.dumps(execute(asked.outputs.read_text(encoding="utf-8"), asked.outputs.name)))
        return 0
    different = 0
    for name in dict.fromkeys((*PAGES, *GENERATED)):
        path = ROOT / "docs" / name
        page = made = path.read_text(encoding="utf-8")
        if name in PAGES:
            made = written(page, in_process_of_its_own(path))
        if name in GENERATED:
            made = generated(name, made)
        if made != page:
            different += 1
            print(differences(name, page, made))
            if not asked.check:
                path.write_text(made, encoding="utf-8")
    return int(bool(different and asked.check))


if __name__ == "__main__":
    sys.exit(main())
