"""The models that come with the project: the objective of each, in every form.

Logistic regression: logits z = Xw + b, labels y in {0, 1},

    f = mean ℓ(z, y) + ½ l2 ‖w‖²

with, in the form "logits", ℓ = softplus(s), s = (1 - 2y) z: large where the model is wrong; and in the form
"probability" ℓ = -(y log p + (1 - y) log(1 - p)), p = 1/(1 + exp(-z)). Both are one real function; they round
differently, and of the second p - y is a legitimate gradient as well.
"""

from __future__ import annotations

from functools import lru_cache

from compare_ag.model.formula import EXAMPLES, Expr, Formula, Named, apply, constant, data, labels, parameter


@lru_cache(maxsize=64)
def logistic_formula(form: str, features: int, penalised: bool, raised: bool = False) -> Formula:
    """The objective of logistic regression with d features, in the form "logits" or "probability".

    Parameters w (d,) and b (); data X (n, d), y (n,) and, where there is a penalty, l2 (). raised: with ``reach`` (n,)
    times ``radius`` () added to the logits; both are data.
    """
    X, y = data("X", EXAMPLES, features), labels("y", EXAMPLES)
    w, b = parameter("w", features), parameter("b")
    z = apply("affine", X, w, b)
    if raised:
        z = z + data("reach", EXAMPLES) * data("radius")
    steps = (_probability if form == "probability" else _logits)(z, y)
    losses = steps[-1].node
    mean = apply("mean", losses)
    ends = [Named(mean, "mean ℓ", "the mean loss")]
    f = mean
    if penalised:
        penalty = constant(0.5) * (data("l2") * apply("dot", w, w))
        f = mean + penalty
        ends += [Named(penalty, "½l2‖w‖²", "the penalty")]
    named = [Named(X, "X"), Named(y, "y"), Named(w, "w"), Named(b, "b"), Named(z, "z"), *steps, *ends, Named(f, "f")]
    return Formula(f, (w, b), tuple(named))


def _logits(z: Expr, y: Expr) -> list[Named]:
    s = (constant(1.0) - (constant(2.0) * y)) * z
    return [
        Named(s, "s", "(1−2y) z: how wrong the logit is"),
        Named(apply("softplus", s), "ℓ", "softplus(s) = log(1 + exp s), the loss of each example"),
    ]


def _probability(z: Expr, y: Expr) -> list[Named]:
    unit, exact = constant(1.0), apply("exactly", z)
    p = apply("reciprocal", unit + apply("exp", -exact))
    complement = apply("known_as", unit - p, apply("sigmoid", -exact))
    written = -(y * apply("log", p) + (unit - y) * apply("log", complement))
    losses = apply("either", _logits(z, y)[-1].node, written)
    return [
        Named(p, "p", "1/(1 + exp(−z)), the probability of label 1"),
        Named(losses, "ℓ", "−(y log p + (1−y) log(1−p)), the loss of each example"),
    ]


# --- the same, with every step that people write down -----------------------------------------------------

ENDS = ("ℓ/n", "Σℓ", "mean ℓ", "w∘w", "‖w‖²", "½‖w‖²", "l2‖w‖²", "½l2‖w‖²", "f")
"""quantities after the losses, in order"""


@lru_cache(maxsize=16)
def logistic_ways(form: str, features: int, penalised: bool) -> tuple[Formula, ...]:
    """The objective in the ways in which people write one form, with a name for each step.

    The first way is `logistic_formula`, whose bounds hold for all ways. The data are those of `logistic_formula`, 1/n
    and a column of d ones.
    """
    first = logistic_formula(form, features, penalised)
    X, y, w, b = (first[symbol] for symbol in ("X", "y", "w", "b"))
    xw, spread = apply("affine", X, w, constant(0.0)), apply("each", b, y)
    z = xw + spread
    before = [
        Named(y, "y", "the labels"), Named(w, "w", "the weights"), Named(b, "b", "the intercept"),
        Named(xw, "Xw", "X times w"), Named(spread, "b…b", "b for every example"), Named(z, "z", "X w + b"),
    ]  # fmt: skip  # a table
    ways = [_literal] if form == "probability" else [_by_size, _by_exp, _by_softplus]
    written = [way(z, y) for way in ways]
    ends = [_end(way[-1].node, w, which, penalised) for way, which in zip(written, (0, 1, 0), strict=False)]
    if len(ways) == 1:
        ends += [_end(written[0][-1].node, w, 1, penalised)]
        written *= 2
    formulas = [Formula(end[-1].node, (w, b), (*before, *way, *end)) for way, end in zip(written, ends, strict=True)]
    return (first, *formulas)


def _literal(z: Expr, y: Expr) -> list[Named]:
    unit = constant(1.0)
    minus = -z
    e = apply("exp", minus)
    below = unit + e
    p = apply("reciprocal", below)
    log_p, complement = apply("log", p), apply("known_as", unit - p, apply("sigmoid", -z))
    log_complement, inverted = apply("log", complement), unit - y
    chosen, left = y * log_p, inverted * log_complement
    return [
        Named(minus, "−z", "minus the logits"),
        Named(e, "exp(−z)"),
        Named(below, "1+exp(−z)"),
        Named(p, "p", "1/(1 + exp(−z)), the probability of label 1"),
        Named(log_p, "log p"),
        Named(complement, "1−p"),
        Named(log_complement, "log(1−p)"),
        Named(inverted, "1−y"),
        Named(chosen, "y log p"),
        Named(left, "(1−y) log(1−p)"),
        Named(-(chosen + left), "ℓ", "−(y log p + (1−y) log(1−p)), the loss of each example"),
    ]


def _wrongness(z: Expr, y: Expr) -> list[Named]:
    double = constant(2.0) * y
    sign = constant(1.0) - double
    return [
        Named(double, "2y"),
        Named(sign, "1−2y", "1 for label 0, −1 for label 1"),
        Named(sign * z, "s", "(1−2y) z: how wrong the logit is"),
    ]


def _tail(s: Expr) -> list[Named]:
    size = apply("absolute", s)
    shrunk = -size
    e = apply("exp", shrunk)
    above = constant(1.0) + e
    return [
        Named(size, "|s|"),
        Named(shrunk, "−|s|"),
        Named(e, "exp(−|s|)"),
        Named(above, "1+exp(−|s|)"),
        Named(apply("log", above), "log(1+exp(−|s|))"),
    ]


def _by_size(z: Expr, y: Expr) -> list[Named]:
    """ℓ = max(s, 0) + log(1 + exp(-|s|))."""
    *start, s = _wrongness(z, y)
    tail = _tail(s.node)
    hinge = apply("relu", s.node)
    losses = Named(hinge + tail[-1].node, "ℓ", "softplus(s) = log(1 + exp s), the loss of each example")
    return [*start, s, *tail, Named(hinge, "max(s, 0)"), losses]


def _by_exp(z: Expr, y: Expr) -> list[Named]:
    """ℓ = log(1 + exp s)."""
    named = _wrongness(z, y)
    grown = apply("exp", named[-1].node)
    above = constant(1.0) + grown
    return [*named, Named(grown, "exp(s)"), Named(above, "1+exp(s)"), Named(apply("log", above), "ℓ")]


def _by_softplus(z: Expr, y: Expr) -> list[Named]:
    """ℓ = softplus(z) - yz, where |z| = |s|."""
    tail = _tail(z)
    positive = apply("relu", z)
    plus = positive + tail[-1].node
    chosen = y * z
    return [
        *tail[2:],
        Named(positive, "max(z, 0)"),
        Named(plus, "softplus(z)", "log(1 + exp z)"),
        Named(chosen, "yz"),
        Named(plus - chosen, "ℓ"),
    ]


def _end(losses: Expr, w: Expr, way: int, penalised: bool) -> list[Named]:
    """From the losses to f: by their sum, or by the sum of their shares."""
    share = data("1/n")
    if way:
        shares = losses * share
        mean, named = apply("sum_of_examples", shares), [Named(shares, "ℓ/n")]
    else:
        total = apply("sum_of_examples", losses)
        mean, named = total * share, [Named(total, "Σℓ", "the sum of the losses")]
    if not penalised:
        return [*named, Named(mean, "f", "the mean loss")]
    named += [Named(mean, "mean ℓ", "the mean loss")]
    l2, half = data("l2"), constant(0.5)
    if way:
        squares = w * w
        norm = apply("dot", squares, data("ones", *w.shape))
        named += [Named(squares, "w∘w"), Named(norm, "‖w‖²", "w·w")]
        scaled = l2 * norm
        penalty = half * scaled
        named += [Named(scaled, "l2‖w‖²")]
    else:
        norm = apply("dot", w, w)
        halved = half * norm
        penalty = l2 * halved
        named += [Named(norm, "‖w‖²", "w·w"), Named(halved, "½‖w‖²")]
    return [*named, Named(penalty, "½l2‖w‖²", "the penalty"), Named(mean + penalty, "f", "mean loss and penalty")]
