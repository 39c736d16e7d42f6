"""``compare-ag completion``: the scripts, and what installing writes, for each shell; shells that are here try it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).parent / "compare-ag")


def call(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if name not in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR")
    }
    return subprocess.run(
        [COMMAND, "completion", *arguments], capture_output=True, text=True, check=False,
        env={**kept, "HOME": str(home), **environment},
    )  # fmt: skip


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_without_install_the_script_is_printed_and_nothing_is_written(shell, tmp_path):
    done = call(tmp_path, shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{shell}_complete" in done.stdout
    assert not any(tmp_path.iterdir())


def test_bash_completes_after_one_command(tmp_path):
    (tmp_path / ".bashrc").write_text("export KEPT=1")  # without an end of line
    done = call(tmp_path, "bash", "--install")
    assert done.returncode == 0, done.stderr
    asked = "COMP_WORDS=(compare-ag run --backends nump); COMP_CWORD=3; _compare_ag_completion compare-ag"
    path = os.pathsep.join([str(Path(COMMAND).parent), os.environ["PATH"]])
    shell = subprocess.run(
        ["bash", "-c", f'. "$HOME/.bashrc"; {asked}; echo "$KEPT ${{COMPREPLY[*]}}"'],
        capture_output=True, text=True, check=False, env={**os.environ, "HOME": str(tmp_path), "PATH": path},
    )  # fmt: skip
    assert shell.stdout == "1 numpy\n", shell.stderr


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish on this machine")
def test_fish_completes_after_one_command(tmp_path):
    assert call(tmp_path, "fish", "--install").returncode == 0
    path = os.pathsep.join([str(Path(COMMAND).parent), os.environ["PATH"]])
    shell = subprocess.run(
        ["fish", "-c", 'complete -C"compare-ag run --backends nump"'], capture_output=True, text=True, check=False,
        env={**os.environ, "HOME": str(tmp_path), "PATH": path},
    )  # fmt: skip
    assert shell.stdout == "numpy\n", shell.stderr


@pytest.mark.thorough
@pytest.mark.parametrize(("shell", "rc"), [("bash", ".bashrc"), ("zsh", ".zshrc")])
def test_installing_twice_adds_one_line_and_a_moved_script_replaces_it(shell, rc, tmp_path):
    for _ in range(2):
        done = call(tmp_path, shell, "--install")
        assert done.returncode == 0, done.stderr
    assert f"{rc} names it already" in done.stdout
    call(tmp_path, shell, "--install", XDG_DATA_HOME=str(tmp_path / "else where"))
    (line,) = (tmp_path / rc).read_text().splitlines()
    assert f"'{tmp_path}/else where/compare-ag/completion.{shell}'" in line


def test_a_relative_folder_of_data_does_not_count(tmp_path):
    done = call(tmp_path, "fish", "--install", XDG_CONFIG_HOME="here")
    assert (tmp_path / ".config" / "fish" / "completions" / "compare-ag.fish").is_file(), done.stdout


def test_zsh_starts_its_completion_where_nobody_has(tmp_path):
    lines = call(tmp_path, "zsh").stdout.splitlines()
    assert lines[0] == "#compdef compare-ag"  # must be the first, or autoload does not know it
    assert any("autoload -Uz compinit && compinit" in line for line in lines)


def test_the_shell_is_that_of_the_user_or_has_to_be_named(tmp_path):
    assert "fish_complete" in call(tmp_path, SHELL="/usr/bin/fish").stdout
    done = call(tmp_path, SHELL="/bin/tcsh")
    assert done.returncode == 2
    assert "name the shell: bash, zsh, fish" in done.stderr


def test_a_home_that_cannot_be_written_is_exit_6(tmp_path):
    (tmp_path / "file").write_text("")
    done = call(tmp_path / "file", "bash", "--install")
    assert done.returncode == 6, done.stderr
    assert "could not save" in done.stderr
