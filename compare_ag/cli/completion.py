"""``compare-ag completion SHELL``: the Tab key for bash, zsh and fish, printed or installed.

The script is click's, which asks `compare-ag` itself for the words. Installing writes it into a folder of the user's
own data and adds one line to the shell's startup file; fish reads a folder of its own and needs no line. A second
installation changes nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from compare_ag.cli.common import Command, click

SHELLS = ("bash", "zsh", "fish")
MARK = "# completion of compare-ag"

EPILOG = """Examples:
  compare-ag completion bash                  print the script
  compare-ag completion --install             install it for the shell that $SHELL names
  compare-ag completion zsh --install
"""


@click.command("completion", cls=Command, epilog=EPILOG)
@click.argument("shell", required=False, type=click.Choice(SHELLS), metavar="[bash|zsh|fish]")
@click.option("--install", is_flag=True, help="Install it for this user instead of printing it.")
def completion(shell: str | None, install: bool) -> None:
    """Complete commands, options, backends and problems with the Tab key in bash, zsh and fish."""
    from compare_ag.text import printable

    chosen = shell or _of_this_user()
    text = _script(chosen)
    if not install:
        sys.stdout.write(text)
        return
    script, rc = places(chosen, Path.home())
    _write(script, text)
    print(f"wrote {printable(str(script))}")
    if rc is not None:
        line = f"[ -f {_quote(script)} ] && . {_quote(script)}  {MARK}"
        before = rc.read_text(encoding="utf-8", errors="surrogateescape") if rc.is_file() else ""
        if line in before.splitlines():
            print(f"{printable(str(rc))} names it already")
        else:
            startup = "".join(entry for entry in before.splitlines(keepends=True) if not entry.rstrip().endswith(MARK))
            _write(rc, startup + ("\n" if startup and not startup.endswith("\n") else "") + line + "\n")
            print(f"added a line to {printable(str(rc))}; without it, nothing is completed")
    print("A shell that is opened from now on completes compare-ag.")


def _of_this_user() -> str:
    """The shell that $SHELL names."""
    name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise click.UsageError(f"name the shell: {', '.join(SHELLS)}")
    return name


def places(shell: str, home: Path) -> tuple[Path, Path | None]:
    """(the path of the script, the startup file that must name it); None where the shell finds the script by itself."""
    if shell == "fish":
        return _folder("XDG_CONFIG_HOME", home / ".config") / "fish" / "completions" / "compare-ag.fish", None
    script = _folder("XDG_DATA_HOME", home / ".local" / "share") / "compare-ag" / f"completion.{shell}"
    if shell == "zsh":
        return script, _folder("ZDOTDIR", home) / ".zshrc"
    return script, home / ".bashrc"


def _folder(variable: str, default: Path) -> Path:
    """The folder that a variable names; relative paths are ignored, as the XDG specification demands."""
    named = Path(os.environ.get(variable, ""))
    return named if named.is_absolute() else default


def _script(shell: str) -> str:
    """Click's script for the shell; for zsh also the start of its completion where it has not been started."""
    from click.shell_completion import get_completion_class

    from compare_ag.cli import COMPLETION, PROGRAM
    from compare_ag.cli.group import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click has a class for all of SHELLS
    source = kind(cli, {}, PROGRAM, COMPLETION).source()
    if shell == "zsh":
        head, _, body = source.partition("\n")  # the first line, #compdef, must stay the first
        return f"{head}\n\n(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}\n{body}"
    return source


def _write(path: Path, text: str) -> None:
    from compare_ag.records import write_bytes

    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def _quote(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))
