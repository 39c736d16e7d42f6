"""Runs an answer of the lab: takes the source of a function's body, executes it unchanged, and records its effects.

The shown code must be the executed code, so the function itself is never called. Its body's source is parsed, compiled
and executed among its module's globals. The outcome holds its return value, output, warnings and exception, SystemExit
included. The return value travels as JSON and is cut to size here, in the worker.
"""

from __future__ import annotations

import ast
import contextlib
import dis
import inspect
import io
import textwrap
import types
import warnings
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

from compare_ag.records import real
from compare_ag.text import shortened
from compare_ag.worker import messages
from compare_ag.worker.load import class_name, describe
from compare_ag.worker.messages import (
    MOST_CHARACTERS,
    MOST_CODE,
    MOST_DEPTH,
    MOST_REASON,
    MOST_VALUES,
    MOST_WARNINGS,
    MOST_WORD,
)

MOST_CONSTANT = 200
"""most characters of a module's value that are shown"""


class MalformedAnswerError(Exception):
    """The answer is malformed: the message gives the reason, for its author."""


def run_answer(function: Callable[[], Any]) -> messages.Answered:
    """Run an answer and return its outcome."""
    try:
        code, helpers = source(function)
    except MalformedAnswerError as error:
        return messages.Answered("", "", {}, "", [], None, shortened(str(error), MOST_REASON), 0.0)
    out = _Capped()
    warned: list[str] = []
    raised: messages.RaisedError | None = None
    returned: Any = None
    start = perf_counter()
    with _watch(out, warned):
        try:
            returned = _compile_body(code, function)()
        except BaseException as error:  # noqa: BLE001 - an exception of an answer is part of its outcome
            raised = messages.RaisedError(shortened(class_name(type(error)), MOST_WORD), describe(error))
    seconds = perf_counter() - start
    flaw = ""
    values: dict[str, Any] = {}
    if raised is None:
        try:
            values = evidence(returned)
        except MalformedAnswerError as error:
            flaw = str(error)
        except BaseException as error:  # noqa: BLE001 - a tensor's tolist may do anything
            flaw = f"gives evidence that cannot be read: {describe(error)}"
    return messages.Answered(code, helpers, values, out.text(), warned, raised, shortened(flaw, MOST_REASON), seconds)


# --- the source ---


def source(function: Callable[[], Any]) -> tuple[str, str]:
    """The text of a function's body without its docstring, and the text of its module's names that it uses.

    Raises `MalformedAnswerError` where there is no such text or the body could not run on its own.
    """
    if not isinstance(function, types.FunctionType):
        raise MalformedAnswerError(f"is a {type(function).__name__}; give a plain function")
    if function.__code__.co_freevars:
        names = ", ".join(function.__code__.co_freevars)
        raise MalformedAnswerError(f"closes over {names}: its body cannot run on its own; use globals of its module")
    if inspect.signature(function).parameters or _is_odd(function):
        raise MalformedAnswerError("must be a plain function without arguments, neither generator nor coroutine")
    code = _body(_text(function))
    helpers = "\n\n".join(_helpers(function))
    if len(code) + len(helpers) > MOST_CODE:
        raise MalformedAnswerError(f"is longer than {MOST_CODE} characters, with what it uses of its module")
    return code, helpers


def _is_odd(function: Callable[[], Any]) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function)


def _text(thing: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError, SyntaxError, IndentationError):
        raise MalformedAnswerError("has no source that can be read: define it in a file, with def") from None


def _body(text: str) -> str:
    """The lines below the signature and the docstring, comments included, without their indentation."""
    try:
        definition = ast.parse(text).body[0]
    except SyntaxError:
        definition = None
    if not isinstance(definition, ast.FunctionDef):
        raise MalformedAnswerError("has no source that can be read: define it in a file, with def")
    statements = definition.body
    lines = text.splitlines()
    if ast.get_docstring(definition, clean=False) is not None:
        begin = statements[0].end_lineno or 1
    else:
        ends = [definition.lineno, definition.returns.end_lineno if definition.returns else 0]
        begin = max(end or 0 for end in ends)
        if statements[0].lineno <= begin:  # def f(): return {}
            return lines[statements[0].lineno - 1][statements[0].col_offset :].strip()
    return textwrap.dedent("\n".join(lines[begin:])).strip("\n")


def _helpers(function: types.FunctionType) -> list[str]:
    """Functions, classes and plain values of the answer's own module that its code names, each before its users.

    Depth first, recorded on the way back: a topological order, except for functions that call each other.
    """
    sources: dict[str, str] = {}
    seen: set[str] = set()

    def visit(thing: Any) -> None:
        for name in _names(thing):
            if name in seen or name not in function.__globals__:
                continue
            seen.add(name)
            used = function.__globals__[name]
            if isinstance(used, types.FunctionType | type):
                if used.__module__ == function.__module__ and used is not function:
                    visit(used)
                    sources[name] = _text(used).rstrip()
            elif _is_plain(used):
                sources[name] = f"{name} = {_cut(repr(used))}"

    visit(function)
    return list(sources.values())


def _is_plain(value: Any) -> bool:
    """Whether a value and all its items have Python's own types, so that its repr is its source."""
    if type(value) is dict:
        return all(_is_plain(element) for pair in value.items() for element in pair)
    if type(value) in (list, tuple, set, frozenset):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, complex, str, bytes)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CONSTANT else f"{text[: MOST_CONSTANT - 1]}…"


def _names(thing: Any) -> Iterator[str]:
    """Global names that the code of a function, or of a class's methods, reads; nested functions included."""
    if isinstance(thing, type):
        yield from (base.__name__ for base in thing.__bases__)
        for value in vars(thing).values():
            if isinstance(value, types.FunctionType):
                yield from _names(value)
        return
    waiting = [thing.__code__]
    while waiting:
        code = waiting.pop()
        yield from (
            instruction.argval for instruction in dis.get_instructions(code) if instruction.opname == "LOAD_GLOBAL"
        )
        waiting += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]


def _compile_body(code: str, function: Callable[[], Any]) -> Callable[[], Any]:
    """A function of exactly this text, among a copy of the globals of the function that it was taken from."""
    assert isinstance(function, types.FunctionType)
    name = function.__name__
    module = ast.parse(f"def {name}(): pass")
    definition = module.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.body = ast.parse(code).body
    scope = dict(function.__globals__)
    exec(compile(module, f"<answer {name}>", "exec", dont_inherit=True), scope)
    made: Callable[[], Any] = scope[name]
    return made


# --- recording its effects ---


class _Capped(io.TextIOBase):
    """Keeps the first characters written to it and counts the rest, so that a flood costs no memory."""

    def __init__(self) -> None:
        self._kept = ""
        self._dropped = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        room = MOST_CHARACTERS - len(self._kept)
        self._kept += text[:room]
        self._dropped += max(0, len(text) - room)
        return len(text)

    def text(self) -> str:
        """The first characters, and the count of the dropped ones."""
        return self._kept + (f"\n[{self._dropped} more characters]" if self._dropped else "")


@contextlib.contextmanager
def _watch(out: _Capped, warned: list[str]) -> Iterator[None]:
    """Send standard output and error to ``out``, the first few warnings to ``warned``."""

    def keep(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        line = f"{category.__name__}: {' '.join(str(message).split())}"[:500]
        if line not in warned and len(warned) < MOST_WARNINGS:
            warned.append(line)

    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = keep
        yield


# --- its return value ---


def evidence(returned: Any) -> dict[str, Any]:
    """The evidence as JSON: flags, numbers (NaN and infinities as texts), texts, None, and lists of these.

    Raises `MalformedAnswerError` for any other type, and for more than `MOST_VALUES` values.
    """
    if not isinstance(returned, dict):
        raise MalformedAnswerError(f"returned a {type(returned).__name__}; return a dict of evidence")
    left = [MOST_VALUES]
    values = {}
    for name, value in returned.items():
        if not isinstance(name, str) or len(name) > MOST_WORD:
            raise MalformedAnswerError(f"returned a dict with the key {name!r}; names are short texts")
        values[str.__str__(name)] = _plain(value, name, left, 0)
    return values


def _plain(value: Any, name: str, left: list[int], depth: int) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth > MOST_DEPTH:
        raise MalformedAnswerError(f"returned more than {MOST_VALUES} values, or nested too deep")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"text": str.__str__(value)[:MOST_CHARACTERS]}
    if isinstance(value, int) and abs(value) < 1 << 53:
        return int(value)
    if isinstance(value, int | float):
        return real(float(value))
    if isinstance(value, list | tuple):
        return [_plain(element, name, left, depth + 1) for element in value]
    if callable(getattr(value, "tolist", None)):
        if (size := getattr(value, "size", 0)) and isinstance(size, int) and size > left[0]:
            raise MalformedAnswerError(f"returned more than {MOST_VALUES} values")
        return _plain(value.tolist(), name, left, depth + 1)
    raise MalformedAnswerError(f"returned {name!r} as a {type(value).__name__}, which is no evidence that can be shown")
