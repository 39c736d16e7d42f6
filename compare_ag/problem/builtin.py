"""The built-in problems: their table, those with real data, and the text by which a user names a problem.

scikit-learn provides the real data sets and nothing else; the function that needs it imports it. Descriptions are in
`compare_ag.problem_names`, which is imported without numpy.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from compare_ag.problem.builtin_seed import seed_data
from compare_ag.problem.builtin_synthetic import synthetic
from compare_ag.problem.checks import did_you_mean, quoted
from compare_ag.problem.core import Data, ProblemError
from compare_ag.problem.features import STANDARDISED, feature_warnings, measure
from compare_ag.problem_names import PROBLEM_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from compare_ag.problem.core import Array


def breast_cancer() -> Data:
    """Return Wisconsin's breast cancer data: malignant (0) against benign (1), standardised."""
    bunch = _sklearn("breast-cancer").load_breast_cancer()
    return _two_classes("breast-cancer", bunch, ("malignant", "benign"))


def digits() -> Data:
    """Return the images of handwritten 0 and 1, 8 × 8 pixels each, standardised."""
    bunch = _sklearn("digits").load_digits(n_class=2)
    return _two_classes("digits", bunch, ("0", "1"))


def iris() -> Data:
    """Return the two of Fisher's irises that no line separates: versicolor (0) against virginica (1), standardised."""
    bunch = _sklearn("iris").load_iris()
    return _two_classes("iris", bunch, ("versicolor", "virginica"))


def _two_classes(name: str, bunch: Any, classes: tuple[str, str]) -> Data:
    """Keep the examples of the two classes, named as in ``bunch.target_names``, and standardise them."""
    class_names = np.array([str(label) for label in bunch.target_names])[bunch.target]
    keep = np.isin(class_names, classes)
    X: Array = np.asarray(bunch.data, dtype=np.float64)[keep]
    scaling = measure(X)
    names = tuple(str(feature) for feature in bunch.feature_names)
    return Data(
        X=scaling.apply(X.copy()),
        y=(class_names[keep] == classes[1]).astype(np.float64),
        name=name,
        description=f"scikit-learn's {name} data, {classes[0]} against {classes[1]}; {STANDARDISED}",
        label_names=classes,
        feature_names=names,
        warnings=feature_warnings(X, scaling, names, standardised=True),
    )


def _sklearn(problem: str) -> Any:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ProblemError(
            f"problem {problem!r} needs scikit-learn, which cannot be imported ({error}); install it with "
            "`python -m pip install scikit-learn` (it is also in the extra compare-ag[data])"
        ) from error
    return datasets


class BuiltIn(NamedTuple):
    """One built-in problem."""

    description: str
    """one line for people"""
    load: Callable[..., Data]
    """makes the data; takes the parameters by keyword"""
    parameters: Mapping[str, int | float]
    """the parameters a user may set, with their defaults"""


def _built_in(name: str, load: Callable[..., Data]) -> BuiltIn:
    defaults = {parameter.name: parameter.default for parameter in inspect.signature(load).parameters.values()}
    return BuiltIn(PROBLEM_NAMES[name], load, defaults)


_LOADERS: dict[str, Callable[..., Data]] = {
    "seed": seed_data,
    "synthetic": synthetic,
    "breast-cancer": breast_cancer,
    "digits": digits,
    "iris": iris,
}

PROBLEMS: Mapping[str, BuiltIn] = {name: _built_in(name, _LOADERS[name]) for name in PROBLEM_NAMES}
"""The built-in problems by name, in the order of `PROBLEM_NAMES`."""

_SYNTAX = re.compile(r"(?P<name>[^:\[\]]*)(?::(?P<after>.*)|\[(?P<inside>.*)\])?", re.DOTALL)


def parse_problem(text: str) -> tuple[str, dict[str, int | float]]:
    """Split the text by which a user names a problem into name and parameters.

    Examples are ``seed``, ``synthetic:n=1000,d=20`` and ``synthetic[n=1000,d=20]``. Parameters are returned as int or
    float, like their defaults; the loader checks their ranges. Raises `ProblemError` for an unknown name or parameter,
    for a parameter that is given twice, and for a value of the wrong type.
    """
    match = _SYNTAX.fullmatch(text.strip())
    if match is None:
        raise ProblemError(f"problem {quoted(text)} cannot be read: write name or name:parameter=value,…")
    name, after, inside = match["name"].strip(), match["after"], match["inside"]
    if name not in PROBLEMS:
        raise ProblemError(
            f"no problem {quoted(name)}{did_you_mean(name, PROBLEMS, '.')} "
            f"There are {', '.join(PROBLEMS)}; a file of your own is given with --data"
        )
    written = after if after is not None else inside
    parameters: dict[str, int | float] = {}
    for assignment in [] if written is None else written.split(","):
        key, value = _parameter(name, assignment)
        if key in parameters:
            raise ProblemError(f"problem {name!r}: parameter {key!r} is given twice")
        parameters[key] = value
    return name, parameters


def _parameter(problem: str, assignment: str) -> tuple[str, int | float]:
    defaults = PROBLEMS[problem].parameters
    if not defaults:
        raise ProblemError(f"problem {problem!r} takes no parameters, not {quoted(assignment.strip())}")
    key, equals, value = (part.strip() for part in assignment.partition("="))
    listing = ", ".join(f"{name}={default}" for name, default in defaults.items())
    if not equals:
        raise ProblemError(f"problem {problem!r}: expected parameter=value, not {quoted(key)}; defaults are {listing}")
    if key not in defaults:
        raise ProblemError(
            f"problem {problem!r} has no parameter {quoted(key)}{did_you_mean(key, defaults, '.')} "
            f"Defaults are {listing}"
        )
    kind = type(defaults[key])
    try:
        return key, kind(value)
    except ValueError:
        expected = "an integer" if kind is int else "a number"
        raise ProblemError(f"problem {problem!r}: {key} must be {expected}, not {quoted(value)}") from None
