"""The handshake: from a module's name to a backend class that fits the contract.

Every mistake that an author can make in it gets its own sentence, because pluggy's messages are missing or misleading
in exactly these cases: a misspelt hook registers silently, a forgotten marker is "no result", and a wrong argument
fails a thousand steps later.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterable
from math import isfinite
from types import ModuleType
from typing import Any

import pluggy

from compare_ag.contract import hookspecs
from compare_ag.contract.answer import Answer, NotApplicable
from compare_ag.contract.backend import API_VERSION, Backend
from compare_ag.contract.mutant import PLACES, Mutant
from compare_ag.text import shortened
from compare_ag.worker.messages import MOST_LISTED, MOST_REASON, MOST_WORD, Mutation

HOOK = "compare_ag_backend"
MUTANTS_HOOK = "compare_ag_mutants"
ANSWERS_HOOK = "compare_ag_answers"

CALLS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "prepare": ("prepare(setting)", (None,), {}),
    "make_tensor": ("make_tensor(array, *, requires_grad=False)", (None,), {"requires_grad": True}),
    "forward": ("forward(weights, batch)", (None, None), {}),
    "backward": ("backward(tape)", (None,), {}),
    "update": ("update(weights, gradient, learning_rate)", (None, None, None), {}),
    "to_numpy": ("to_numpy(tensor)", (None,), {}),
    "synchronize": ("synchronize(*tensors)", (None, None, None), {}),
    "graph": ("graph(weights, batch)", (None, None), {}),
    "step": ("step(weights, batch, learning_rate)", (None, None, None), {}),
}
"""Each verb as the contract writes it, and the call that the worker makes."""


class PluginError(Exception):
    """The plugin cannot be used; `status` is a backend status of the run, the message is for its author."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


def load_backend(module_name: str, dtype: str | None = None, mutation: Mutation | None = None) -> type[Backend]:
    """Import the plugin, call its hook and return a backend class that fits the contract.

    Raises `PluginError`: import-error (the module cannot be imported), malformed (it breaks the contract),
    unsupported (another API version, or ``dtype`` not among its dtypes).
    """
    backend = _check_class(_call_hook(_import(module_name)))
    if mutation is not None:
        backend = _check_class(_mutant(mutation).make(backend, mutation.size))
    if dtype is not None and dtype not in backend.dtypes:
        raise PluginError(
            "unsupported", f"computes in {', '.join(backend.dtypes)}, not in {dtype}; choose another --dtype"
        )
    return backend


def load_mutants(module_name: str) -> list[Mutant]:
    """Import a plugin of mutants and call its hook. Raises `PluginError` as `load_backend` does."""
    module = _import(module_name)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module)
        manager.check_pending()
        mutants = manager.hook.compare_ag_mutants()
    except BaseException as error:  # noqa: BLE001 - every exception of a plugin becomes its row
        traceback.print_exc()
        raise PluginError("malformed", f"its hook {MUTANTS_HOOK}() raised {describe(error)}") from None
    if not isinstance(mutants, list) or not all(isinstance(mutant, Mutant) for mutant in mutants):
        raise PluginError("malformed", f"{module_name} must have a hook {MUTANTS_HOOK}() that returns a list of Mutant")
    for mutant in mutants:
        _check_mutant(mutant)
    return mutants


def _check_mutant(mutant: Any) -> None:
    """Check that a mutant's texts and sizes can be sent to the host."""
    words = [(word, MOST_WORD) for word in (mutant.name, mutant.part, mutant.shows_in)]
    texts = [*words, (mutant.meaning, MOST_REASON)]
    good = all(isinstance(text, str) and len(text) <= most for text, most in texts) and mutant.name
    sizes = isinstance(mutant.sizes, tuple | list) and 0 < len(mutant.sizes) <= MOST_LISTED
    if not good or not sizes or not all(isinstance(size, int | float) and isfinite(size) for size in mutant.sizes):
        raise PluginError(
            "malformed", f"{MUTANTS_HOOK}() returned a Mutant without short texts and a tuple of sizes: {mutant!r}"
        )
    if mutant.shows_in not in PLACES:
        places = ", ".join(map(repr, PLACES))
        raise PluginError(
            "malformed", f"the mutant {mutant.name!r} shows in {mutant.shows_in!r}; shows_in is one of {places}"
        )


def load_answers(module_name: str) -> list[Answer | NotApplicable]:
    """Import a backend's plugin and call its hook for answers; [] where it has no such hook.

    Raises `PluginError` as `load_backend` does.
    """
    module = _import(module_name)
    manager = _manager(module)
    try:
        answers = manager.hook.compare_ag_answers()
    except BaseException as error:  # noqa: BLE001 - SystemExit in a hook is a fault of the plugin
        traceback.print_exc()
        cause = f"{describe(error)}{_where(error, module.__name__)}"
        raise PluginError("malformed", f"its hook {ANSWERS_HOOK}() raised {cause}") from None
    if not manager.hook.compare_ag_answers.get_hookimpls():
        if callable(getattr(module, ANSWERS_HOOK, None)):
            raise PluginError(
                "malformed", f"{ANSWERS_HOOK}() lacks its marker: write @compare_ag.hookimpl on the line above it"
            )
        return []
    if not isinstance(answers, list):
        what = "None" if answers is None else f"a {type(answers).__name__}"
        raise PluginError("malformed", f"{ANSWERS_HOOK}() returned {what}; it must return a list of compare_ag.Answer")
    seen: set[str] = set()
    for answer in answers:
        _check_answer(answer)
        if answer.question in seen:
            raise PluginError("malformed", f"{ANSWERS_HOOK}() answers {answer.question!r} twice")
        seen.add(answer.question)
    return answers


def _check_answer(answer: Any) -> None:
    """Check that this is an answer, or a reason why there is none."""
    if not isinstance(answer, Answer | NotApplicable):
        raise PluginError(
            "malformed",
            f"{ANSWERS_HOOK}() returned a list with a {type(answer).__name__} in it; "
            "it must return a list of compare_ag.Answer and compare_ag.NotApplicable",
        )
    question: object = answer.question
    if not isinstance(question, str) or len(question) > MOST_WORD:
        raise PluginError(
            "malformed",
            f"{ANSWERS_HOOK}() names the question {question!r}; an id is a text of at most {MOST_WORD} characters",
        )
    if isinstance(answer, Answer) and not callable(answer.function):
        what = type(answer.function).__name__
        raise PluginError("malformed", f"{ANSWERS_HOOK}() answers {answer.question!r} with a {what}, not a function")
    reason: Any = "" if isinstance(answer, Answer) else answer.reason
    if not isinstance(answer, Answer) and not (isinstance(reason, str) and reason.strip()):
        raise PluginError(
            "malformed", f"{ANSWERS_HOOK}() says without a reason that {answer.question!r} does not apply"
        )


def _mutant(mutation: Mutation) -> Mutant:
    for mutant in load_mutants(mutation.module):
        if mutant.name == mutation.name:
            return mutant
    raise PluginError("malformed", f"{mutation.module} offers no mutant {mutation.name!r}")


def describe(error: BaseException) -> str:
    """``TypeName: message`` on one line, also for an exception whose __str__ raises."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - a plugin's __str__ may do anything, SystemExit included
        text = "(its message cannot be shown)"
    line = " ".join(text.split())
    name = shortened(class_name(type(error)), MOST_WORD)
    return f"{name}: {line[:500]}" if line else name


def class_name(cls: type) -> str:
    """The name that a class was defined with, whatever its metaclass makes of ``__name__``."""
    name: str = type.__dict__["__name__"].__get__(cls)
    return name


def _import(module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        traceback.print_exc()
        missing = error.name or "?"
        if missing == module_name or module_name.startswith(f"{missing}."):
            raise PluginError(
                "import-error", f"its entry point names the module {module_name!r}, which does not exist"
            ) from None
        hint = f"install it into this environment: python -m pip install {missing.split('.')[0]}"
        raise PluginError("import-error", f"importing {module_name} needs the module {missing!r}; {hint}") from None
    except SyntaxError as error:
        traceback.print_exc()
        raise PluginError(
            "import-error", f"SyntaxError in {_short(error.filename)}, line {error.lineno}: {error.msg}"
        ) from None
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt at import are faults of the plugin
        traceback.print_exc()
        cause = f"SystemExit({error.code!r})" if isinstance(error, SystemExit) else describe(error)
        reason = f"importing {module_name} raised {cause}{_where(error, module_name)}"
        raise PluginError("import-error", reason) from None


def _short(filename: str | None) -> str:
    """The last two parts of a path: enough to find the file, without the machine's folders."""
    parts = (filename or "?").replace("\\", "/").split("/")
    return "/".join(parts[-2:])


def _where(error: BaseException, module_name: str) -> str:
    """The deepest line of the plugin's own package on the traceback, as `` (file, line n)``."""
    package = module_name.split(".")[0]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if f"/{package}" in frame.filename.replace("\\", "/"):
            return f" ({_short(frame.filename)}, line {frame.lineno})"
    return ""


def _manager(module: ModuleType) -> pluggy.PluginManager:
    """A fresh manager with this one plugin. Raises `PluginError` for unknown hooks."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module)
        manager.check_pending()
    except pluggy.PluginValidationError:
        raise PluginError("malformed", _explain_registration(module)) from None
    return manager


def _call_hook(module: ModuleType) -> Any:
    manager = _manager(module)
    if not manager.hook.compare_ag_backend.get_hookimpls():
        raise PluginError("malformed", _explain_missing_hook(module))
    try:
        result = manager.hook.compare_ag_backend()
    except BaseException as error:  # noqa: BLE001 - SystemExit in a hook is a fault of the plugin
        traceback.print_exc()
        raise PluginError(
            "malformed", f"its hook {HOOK}() raised {describe(error)}{_where(error, module.__name__)}"
        ) from None
    if result is None:
        raise PluginError("malformed", f"its hook {HOOK}() returned None; it must return the backend class")
    return result


def _explain_registration(module: ModuleType) -> str:
    """Explain for the author why pluggy refused the plugin: an unknown hook, or a known hook with arguments."""
    hooks = (HOOK, MUTANTS_HOOK, ANSWERS_HOOK)
    marked = [name for name, value in vars(module).items() if _is_marked(value)]
    unknown = [name for name in marked if name not in hooks]
    if unknown:
        return f"unknown hook {unknown[0]}; did you mean {_closest(unknown[0], hooks, 0.0)}?"
    for hook in marked:
        signature = inspect.signature(getattr(module, hook))
        if signature.parameters:
            return f"its hook must be written {hook}() without arguments, not {hook}{signature}"
    return f"its hooks do not fit: {', '.join(marked)}"


def _explain_missing_hook(module: ModuleType) -> str:
    if callable(getattr(module, HOOK, None)):
        return f"{HOOK}() lacks its marker: write @compare_ag.hookimpl on the line above it"
    if close := _closest(HOOK, vars(module), 0.75):
        return f"no hook {HOOK}() in module {module.__name__}; is {close} it, misspelt and unmarked?"
    return f"module {module.__name__} implements no hook; add @compare_ag.hookimpl def {HOOK}(): return YourBackend"


def _closest(word: str, words: Iterable[str], cutoff: float) -> str | None:
    import difflib  # imported late, because few workers need it

    return next(iter(difflib.get_close_matches(word, words, n=1, cutoff=cutoff)), None)


def _is_marked(value: object) -> bool:
    return inspect.isroutine(value) and hasattr(value, f"{hookspecs.PROJECT}_impl")


def _check_class(backend: Any) -> type[Backend]:
    if isinstance(backend, Backend):
        raise PluginError(
            "malformed",
            f"{HOOK}() returned an instance of {type(backend).__name__}; return the class itself, without ()",
        )
    if not (isinstance(backend, type) and issubclass(backend, Backend)):
        what = f"the class {backend.__name__}" if isinstance(backend, type) else f"a {type(backend).__name__}"
        raise PluginError("malformed", f"{HOOK}() returned {what}; it must return a subclass of compare_ag.Backend")
    name = _attribute(backend, "__name__")
    if not isinstance(name, str):
        raise PluginError("malformed", f"__name__ of its class is of type {type(name).__name__}; it must be a text")
    version = _attribute(backend, "api_version")
    if type(version) is not int:
        what = type(version).__name__
        raise PluginError("malformed", f"api_version is a {what}; it must be the number {API_VERSION}")
    if version != API_VERSION:
        raise PluginError("unsupported", f"speaks API version {version}, this compare-ag speaks {API_VERSION}")
    _check_attributes(backend)
    for verb, (contract, args, kwargs) in CALLS.items():
        _check_verb(backend, verb, contract, args, kwargs)
    missing = sorted(backend.__abstractmethods__)
    if missing:
        raise PluginError(
            "malformed", f"class {backend.__name__} lacks {_listing([CALLS[verb][0] for verb in missing])}"
        )
    try:
        inspect.signature(backend).bind()
    except TypeError as error:
        raise PluginError(
            "malformed", f"class {backend.__name__} must be buildable without arguments: {error}"
        ) from None
    return backend


def _attribute(backend: type[Backend], name: str) -> Any:
    """A class attribute, which a metaclass may compute. Raises `PluginError` where reading it raises."""
    try:
        return getattr(backend, name)
    except BaseException as error:  # noqa: BLE001 - a property of a plugin's metaclass may do anything
        traceback.print_exc()
        raise PluginError("malformed", f"reading {name} raised {describe(error)}; write it as a plain value") from None


def _check_attributes(backend: type[Backend]) -> None:
    dtypes = _attribute(backend, "dtypes")
    if not isinstance(dtypes, tuple | list) or not all(isinstance(dtype, str) for dtype in dtypes) or not dtypes:
        raise PluginError("malformed", f"dtypes is {dtypes!r}; it must be a tuple of names like ('float32', 'float64')")
    if len(dtypes) > MOST_LISTED or max(map(len, dtypes)) > MOST_WORD:
        raise PluginError("malformed", f"dtypes holds more than {MOST_LISTED} names, or a name longer than {MOST_WORD}")
    splits = _attribute(backend, "splits")
    if not isinstance(splits, bool):
        raise PluginError("malformed", f"splits is {splits!r}; it must be True or False")


def _check_verb(
    backend: type[Backend], verb: str, contract: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Check that the verb accepts the worker's call, which neither pluggy nor ABC does."""
    function = inspect.getattr_static(backend, verb)
    static = isinstance(function, staticmethod)
    function = getattr(function, "__func__", function)
    if not callable(function):
        raise PluginError(
            "malformed", f"{verb} is a {type(function).__name__}, not a method; the contract is {contract}"
        )
    if (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    ):
        raise PluginError(
            "malformed", f"{verb} is asynchronous or a generator; the contract is a plain method {contract}"
        )
    try:
        signature = inspect.signature(function)
        signature.bind(*(() if static else (None,)), *args, **kwargs)
    except TypeError as error:
        raise PluginError("malformed", f"{verb}{signature} cannot be called as {contract}: {error}") from None
    except ValueError:  # a builtin without a signature can only be tried
        return


def _listing(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def framework_versions(module_name: str) -> dict[str, str]:
    """Versions of the libraries that the global names of the plugin's module come from.

    Read from the modules themselves (``__version__``, then the distribution of that name), because only the plugin's
    own process can tell which copy was really imported.
    """
    tops: set[str] = set()
    for value in list(vars(sys.modules.get(module_name, sys)).values()):
        with contextlib.suppress(Exception):  # access to a lazy object may run any code
            origin = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
            if isinstance(origin, str):
                tops.add(origin.split(".")[0])
    tops -= {module_name.split(".")[0], "compare_ag", "pluggy", "builtins", "__future__", "__main__"}
    versions: dict[str, str] = {}
    for top in sorted(tops - set(sys.stdlib_module_names))[:MOST_LISTED]:
        version: object = None
        with contextlib.suppress(Exception):  # no such distribution, or a module that raises on purpose
            version = getattr(sys.modules.get(top), "__version__", None)
            if not isinstance(version, str):
                version = _installed_version(top)
        # shortened() makes it a plain str: torch's version is a subclass with comparisons of its own
        versions[shortened(top, MOST_WORD)] = shortened(version if isinstance(version, str) else "unknown", MOST_WORD)
    return versions


def _installed_version(package: str) -> str:
    """The version of the distribution that is named like the package; may raise anything.

    The version is in the name of a folder beside the package. Only where there is no such folder, for example after an
    editable installation, `importlib.metadata` is asked, whose import takes a third of numpy's time.
    """
    beside = os.path.dirname(os.path.dirname(sys.modules[package].__file__ or ""))
    for entry in os.listdir(beside):
        if match := re.fullmatch(rf"{re.escape(package)}-([^-]+)\.dist-info", entry):
            return match[1]
    from importlib import metadata

    return metadata.version(package)
