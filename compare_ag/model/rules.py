"""The result of each operation: in float64, with a bound on the error of a program, and exactly.

Every operation of `formula` has an entry with three rules that are read separately (`verify.readings`):

    value   float64 arrays, with any number of leading axes for several points at once
    bound   an error ε(q) ≥ |q as a program computes it - q|, from the errors of the arguments [a running error
            analysis: Wilkinson; Higham, Accuracy and Stability, 3.3] and from the operation's own rounding in an
            `Arithmetic`; and the size, the sum of the absolute values of q's terms, for the rounding of later sums
    exact   flat lists of balls, a midpoint with a radius that is proven to contain the real number

Smooth functions are operations and not compositions: as max(s, 0) + log(1 + exp(-|s|)), softplus would have a kink at
0, and the bound of that way alone. The bounds of these operations hold for every way to write the function.

A bound is infinite where it is unknown: where terms may leave the format, or an argument has lost all of its digits.
NaN in a bound also means inf.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from flint import arb, arb_mat

from compare_ag.model.arithmetic import HEADROOM, K_EXP, K_SIGMOID, Arithmetic, Array, Known
from compare_ag.model.formula import Expr

Ball: TypeAlias = Any
"""flint.arb; python-flint's own annotations stop at its Cython classes"""

EXACTLY = Known.here()
SMALL = 0.01
"""errors of logits up to this are replaced by the largest of them, which saves exponentials"""


class Bounded(NamedTuple):
    """Numbers, the largest error of a program, and the size of their terms."""

    value: Array
    error: Array | float
    size: Array | float


@dataclass(frozen=True)
class Site:
    """The operation that is read, with the number of examples and the arithmetic."""

    node: Expr
    examples: int
    """n"""
    arithmetic: Arithmetic = EXACTLY
    whole: bool = False
    """whether a factor is exactly a small whole number: a label, a sign"""

    def rank(self, argument: int) -> int:
        """The axes of an argument's shape."""
        return len(self.node.args[argument].shape)


class Balls:
    """Exact numbers in C order, with their matrix, which is made once."""

    def __init__(self, entries: list[Ball], shape: tuple[int, ...]) -> None:
        self.entries, self.shape = entries, shape
        self._matrix: Ball = None
        self._transpose: Ball = None

    @property
    def matrix(self) -> Ball:
        """(r, c): of an array, with the last axis as columns; of a vector, a single column."""
        if self._matrix is None:
            rows = self.shape[0]
            self._matrix = arb_mat(rows, len(self.entries) // rows if rows else 0, self.entries)
        return self._matrix

    @property
    def transpose(self) -> Ball:
        """The matrix, transposed."""
        if self._transpose is None:
            self._transpose = self.matrix.transpose()
        return self._transpose

    def rows(self) -> list[list[Ball]]:
        """The rows along the last axis."""
        width = self.shape[-1]
        return [self.entries[i : i + width] for i in range(0, len(self.entries), width)]


class Rule(NamedTuple):
    """The rules of an operation."""

    value: Callable[..., Array]
    """(site, *arrays)"""
    bound: Callable[..., Bounded]
    """(site, *Bounded)"""
    exact: Callable[..., list[Ball]]
    """(site, *Balls) -> the result's entries"""


class Reduction(NamedTuple):
    """The rules of a sum over the examples: of a part of the examples, and of the whole sum."""

    value: Callable[..., Array]
    """(site, *arrays) -> the sum over the examples at hand"""
    part: Callable[..., Bounded]
    """(site, *Bounded): the same, with the sum of the terms' errors and of their sizes"""
    exact: Callable[..., list[Ball]]
    """(site, *Balls) -> the result's entries"""
    mean: bool = False
    """whether the sum is divided by n; if not, its terms have been"""
    route: bool = False
    """whether an AD tool may take another route to the terms"""


def is_zero(error: Array | float) -> bool:
    """Whether the error is the number 0.0; no array counts as zero."""
    return isinstance(error, float) and error == 0.0


# --- functions of one number ------------------------------------------------------------------------------


def sigmoid(s: Array) -> Array:
    """1/(1 + exp(-s)): to a small relative error for every s."""
    p = np.asarray(np.negative(s))
    np.exp(p, out=p)
    p += 1.0
    return np.asarray(np.divide(1.0, p, out=p))


def softplus(s: Array) -> Array:
    """log(1 + exp s) = max(s, 0) + log1p(exp(-|s|))."""
    loss = np.asarray(np.abs(s))
    np.negative(loss, out=loss)
    np.exp(loss, out=loss)
    np.log1p(loss, out=loss)
    loss += np.maximum(s, 0.0)
    return np.asarray(loss)


def _grow(value: Array, error: Array | float) -> Array:
    """min(q exp(ε), 1): the largest probability q = σ(s) for a logit that is off by ε."""
    worst = float(np.max(error, initial=0.0))
    growth = float(np.exp(worst)) if worst < SMALL else np.exp(np.minimum(error, 99.0))
    return np.asarray(np.minimum(value * growth, 1.0))


def _cap(error: Array | float, most: float) -> Array:
    """The error, ``most`` at most, of a bounded function; inf and NaN, whose argument may be NaN, become inf."""
    capped = np.asarray(np.minimum(error, most))
    return capped if np.max(error, initial=0.0) < np.inf else np.where(np.isfinite(error), capped, np.inf)


def _exp_bound(site: Site, v: Array, a: Bounded) -> tuple[Array, Array]:
    """exp(a + ε) - exp a = exp a (expm1 ε)."""
    a_ = site.arithmetic
    return v * np.expm1(a.error) + K_EXP * a_.u * v + a_.tiny, v


def _log_bound(site: Site, v: Array, a: Bounded) -> tuple[Array, Array]:
    """|log(1 ± ε/a)| ≤ (ε/a)/(1 - ε/a)."""
    left = np.abs(a.value) - a.error
    return np.where(left > 0, a.error / left, np.inf) + K_EXP * site.arithmetic.u * np.abs(v), np.abs(v)


def _reciprocal_bound(site: Site, v: Array, a: Bounded) -> tuple[Array, Array]:
    """1/(a - ε) - 1/a = ε/(a (a - ε))."""
    a_ = site.arithmetic
    left = np.abs(a.value) - a.error
    return np.where(left > 0, a.error * np.abs(v) / left, np.inf) + a_.u * np.abs(v) + a_.tiny, np.abs(v)


def _inverse_square_bound(site: Site, v: Array, a: Bounded) -> tuple[Array, Array]:
    """q² of q = 1/a: 1/(a - ε)² - 1/a² = ε (2a - ε)/(a² (a - ε)²); no digit is right where it underflows."""
    a_ = site.arithmetic
    size = np.abs(a.value)
    left = size - a.error
    largest = np.where(left > 0, 1.0 / (left * left), np.inf)
    error = a.error * (size + left) * v * largest + 3.0 * a_.u * largest
    return np.where(v < a_.tiny, np.inf, error), v


def _softplus_bound(site: Site, v: Array, s: Bounded) -> tuple[Array, Array]:
    """The slope is σ(s) = 1 - exp(-ℓ) ≤ ℓ, which grows by exp ε at most between s and s + ε."""
    size = np.abs(s.value)
    slope = _grow(v, s.error)
    return slope * s.error + site.arithmetic.softplus(v, size), v + 2.0 * size


def _sigmoid_bound(site: Site, v: Array, s: Bounded) -> tuple[Array, Array]:
    """σ' = σ(1 - σ) is at most ¼, and at most σ; two probabilities differ by 1 at most."""
    carried = _cap(np.minimum(0.25, _grow(v, s.error)) * s.error, 1.0)
    return carried + site.arithmetic.sigmoid(v), v


def _sigmoid_slope_bound(site: Site, v: Array, s: Bounded) -> tuple[Array, Array]:
    """σ(1 - σ), whose slope is at most 0.1 and at most itself; σ and 1 - σ are each off by an absolute error."""
    carried = _cap(np.minimum(0.1, _grow(v, s.error)) * s.error, 0.25)
    return carried + (K_SIGMOID + 2.0) * site.arithmetic.u, v


def _tanh_bound(site: Site, v: Array, a: Bounded) -> tuple[Array, Array]:
    """The slope is at most 1; 2σ(2a) - 1 is off by twice the error of σ."""
    return _cap(a.error, 2.0) + (2.0 * K_SIGMOID + 2.0) * site.arithmetic.u, np.abs(v)


def _tanh_slope_bound(site: Site, v: Array, a: Bounded) -> tuple[Array, Array]:
    """1 - t², whose slope is at most 0.77; t is off by an absolute error, which 2|t| ≤ 2 multiplies."""
    return _cap(0.77 * a.error, 1.0) + (4.0 * K_SIGMOID + 6.0) * site.arithmetic.u, v


def _kink_bound(jump: float) -> Callable[..., tuple[Array, Array]]:
    """The bound of a function that jumps at 0: the jump, where rounding may change the argument's sign."""

    def bound(_: Site, v: Array, a: Bounded) -> tuple[Array, Array]:
        unsure = (np.abs(a.value) <= a.error) & (np.asarray(a.error) > 0.0)
        return np.where(np.isfinite(a.error), np.where(unsure, jump, 0.0), np.inf), np.abs(v)

    return bound


def _unrounded_bound(site: Site, v: Array, a: Bounded) -> tuple[Array | float, Array | float]:
    """The error and the size of the argument: the operation does not round."""
    return a.error, a.size


def _lipschitz_bound(site: Site, v: Array, a: Bounded) -> tuple[Array | float, Array | float]:
    return a.error, np.abs(v)


def _exact_softplus(s: Ball) -> Ball:
    growth = s.exp()
    # of exp s and exp(-s), the form whose exponential does not overflow
    return growth.log1p() if growth < 1 else (1 / growth).log1p() + s


def _exact_sigmoid(s: Ball) -> Ball:
    return 1 / (1 + (-s).exp())


def _exact_sigmoid_slope(s: Ball) -> Ball:
    p = _exact_sigmoid(s)
    return p * (1 - p)


# --- functions of several numbers -------------------------------------------------------------------------


def _add_bound(site: Site, v: Array, a: Bounded, b: Bounded) -> tuple[Array | float, Array | float]:
    rounding = 0.0 if site.whole else site.arithmetic.u * np.abs(v)
    return a.error + b.error + rounding, a.size + b.size


def _multiply_bound(site: Site, v: Array, a: Bounded, b: Bounded) -> tuple[Array | float, Array | float]:
    """(a + ε)(b + δ) - ab; a product with a small whole number is not rounded."""
    carried: Array | float = 0.0
    if not is_zero(b.error):
        carried = np.abs(a.value) * b.error
    if not is_zero(a.error):
        brought = a.error * (np.abs(b.value) + b.error)
        carried = brought if is_zero(carried) else carried + brought
    if site.whole:
        return carried, a.size * b.size
    rounding = site.arithmetic.u * np.abs(v)
    rounding += site.arithmetic.tiny
    rounding += carried
    return rounding, a.size * b.size


def _axes(site: Site) -> tuple[int, ...]:
    """All axes of a parameter."""
    return tuple(range(-site.rank(0), 0))


def _dot_value(site: Site, a: Array, b: Array) -> Array:
    return np.asarray((a * b).sum(axis=_axes(site)))


def _dot_bound(site: Site, a: Bounded, b: Bounded) -> Bounded:
    """Σ ab over all their numbers; a product that may underflow is off by `tiny`."""
    a_, axes = site.arithmetic, _axes(site)
    terms = a.value * b.value
    size = np.abs(terms).sum(axis=axes)
    carried = (np.abs(a.value) * b.error + a.error * (np.abs(b.value) + b.error)).sum(axis=axes)
    faint = (np.abs(terms) < HEADROOM * a_.tiny) & (a.value != 0.0) & (b.value != 0.0)
    count = terms[(0,) * (terms.ndim - len(axes))].size
    error = carried + float(a_.gamma(count + 1.0)) * size + faint.sum(axis=axes) * a_.tiny
    return Bounded(terms.sum(axis=axes), error, size)


def _dot_exact(site: Site, a: Balls, b: Balls) -> list[Ball]:
    factors = b.entries if site.rank(1) else b.entries * len(a.entries)
    return [sum((entry * factor for entry, factor in zip(a.entries, factors, strict=True)), arb(0))]


def _elementwise(
    value: Callable[..., Array],
    bound: Callable[..., tuple[Array | float, Array | float]],
    exact: Callable[..., Ball],
) -> Rule:
    """A rule of one or two arguments, number by number; a single number is combined with all numbers of the other."""

    def bound_entries(site: Site, *args: Bounded) -> Bounded:
        v = value(*(arg.value for arg in args))
        return Bounded(v, *bound(site, v, *args))

    def exactly(site: Site, *args: Balls) -> list[Ball]:
        if len(args) == 1:
            return [exact(entry) for entry in args[0].entries]
        first, second = (arg.entries for arg in args)
        if len(first) != len(second):
            if not site.rank(0):
                first = first * len(second)
            elif not site.rank(1):
                second = second * len(first)
        return [exact(a, b) for a, b in zip(first, second, strict=True)]

    def plain(site: Site, *arrays: Array) -> Array:
        return value(*arrays)

    return Rule(plain, bound_entries, exactly)


def _exactly_bound(site: Site, a: Bounded) -> Bounded:
    """The number without its error, which the first way of `either` propagates."""
    return Bounded(a.value, 0.0, np.abs(a.value))


def _either_bound(site: Site, a: Bounded, b: Bounded) -> Bounded:
    """The argument's error, which the first way propagates, plus the errors of the second way's operations."""
    return Bounded(a.value, a.error + b.error, a.size)


# --- products ---------------------------------------------------------------------------------------------

Operands: TypeAlias = Callable[..., tuple[Array, Array, Callable[[Array], Array]]]
"""(site, a, b) -> the matrices to multiply, and a function that shapes the product"""


def _same(values: Array) -> Array:
    return values


def _forward(site: Site, x: Array, w: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
    """x (…, n, d) times w (…, d) or (…, d, h)."""
    if site.rank(1) == 2:
        return x, w, _same
    if x.ndim == 2:  # data: all points at once
        return np.atleast_2d(w), x.T, _same if w.ndim == 2 else lambda v: v[0]
    return x, w[..., None], lambda v: v[..., 0]


def _backward(site: Site, x: Array, g: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
    """Σᵢ xᵢ gᵢ of x (…, n, d) and g (…, n) or (…, n, h)."""
    if site.rank(1) == 2:
        return np.swapaxes(x, -1, -2), g, _same
    if x.ndim == 2:
        return np.atleast_2d(g), x, _same if g.ndim == 2 else lambda v: v[0]
    return g[..., None, :], x, lambda v: v[..., 0, :]


def _through(site: Site, g: Array, w: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
    """g (…, n) or (…, n, h) times w (…, d) or (…, d, h), transposed."""
    if site.rank(1) == 2:
        return g, np.swapaxes(w, -1, -2), _same
    return g[..., None], w[..., None, :], _same


def _matrix_product(operands: Operands, site: Site, a: Bounded, b: Bounded, terms: int | None) -> Bounded:
    """Value, error and size of a product; terms: of a whole sum, None where the sum goes on."""
    left, right, shaped = operands(site, a.value, b.value)
    value, rounding, size = site.arithmetic.product(left, right, terms)
    carried: Array | float = 0.0

    def orient(first: Array | float, second: Array | float) -> tuple[Array, Array]:
        factors = np.broadcast_to(first, a.value.shape), np.broadcast_to(second, b.value.shape)
        return operands(site, *factors)[:2]

    # |(a + ε)(b + δ) - ab| ≤ |a|δ + ε(|b| + δ)
    if not is_zero(b.error):
        sizes, errors = orient(np.abs(a.value), b.error)
        carried = sizes @ errors
    if not is_zero(a.error):
        errors, sizes = orient(a.error, np.abs(b.value) + b.error)
        carried = carried + errors @ sizes
    error = carried + rounding
    # a program rounds the terms together with their errors
    wide = size if is_zero(carried) else size + carried
    return Bounded(shaped(value), *(part if isinstance(part, float) else shaped(part) for part in (error, wide)))


def _affine_value(site: Site, x: Array, w: Array, b: Array) -> Array:
    if x.ndim == 2 and site.rank(1) == 1:  # without further calls: small problems make ten thousand steps
        return np.asarray(w @ x.T + b[..., None])
    left, right, shaped = _forward(site, x, w)
    return np.asarray(shaped(left @ right) + _to_examples(site.rank(2), b))


def _to_examples(rank: int, values: Array) -> Array:
    """() or (h,), with leading axes, as a row for all examples; a single number stays as it is."""
    if not values.ndim:
        return values
    return values[..., None, :] if rank else values[..., None]


def _affine_bound(site: Site, x: Bounded, w: Bounded, b: Bounded) -> Bounded:
    """d products and d sums in any order: γ_{d+1} (|x||w| + |b|)."""
    a = site.arithmetic
    terms = x.value.shape[-1] + 1
    known = isinstance(a, Known)
    product = _matrix_product(_forward, site, x, w, terms if known else None)
    shift, error = (_to_examples(site.rank(2), np.asarray(part)) for part in (b.value, b.error))
    value = product.value + shift
    if known:
        return Bounded(value, product.error + error + a.u * np.abs(value), 0.0)
    size = product.size + np.abs(shift)
    rounding = float(a.gamma(float(terms))) * size
    rounding += terms * a.tiny
    if not (is_zero(product.error) and is_zero(b.error)):
        rounding += product.error + error
    return Bounded(value, rounding, size)


def _affine_exact(site: Site, x: Balls, w: Balls, b: Balls) -> list[Ball]:
    product = (x.matrix * w.matrix).entries()
    shift = b.entries * (len(product) // len(b.entries))
    return [entry + offset for entry, offset in zip(product, shift, strict=True)]


def _through_value(site: Site, g: Array, w: Array) -> Array:
    left, right, shaped = _through(site, g, w)
    return np.asarray(shaped(left @ right))


def _through_bound(site: Site, g: Bounded, w: Bounded) -> Bounded:
    return _matrix_product(_through, site, g, w, w.value.shape[-1] if site.rank(1) == 2 else 1)


def _through_exact(site: Site, g: Balls, w: Balls) -> list[Ball]:
    """The product with w transposed; for a vector w, whose matrix is a column, the outer product."""
    entries: list[Ball] = (g.matrix * w.transpose).entries()
    return entries


def _over_value(site: Site, x: Array, g: Array) -> Array:
    if x.ndim == 2 and site.rank(1) == 1:
        return np.asarray(g @ x)
    left, right, shaped = _backward(site, x, g)
    return np.asarray(shaped(left @ right))


def _over_part(site: Site, x: Bounded, g: Bounded) -> Bounded:
    return _matrix_product(_backward, site, x, g, None)


def _over_exact(site: Site, x: Balls, g: Balls) -> list[Ball]:
    entries: list[Ball] = (x.transpose * g.matrix).entries()
    return entries


# --- sums over the examples -------------------------------------------------------------------------------


def _sum_value(site: Site, a: Array) -> Array:
    return np.asarray(np.add.reduce(a, axis=-site.rank(0)))


def _sum_part(site: Site, a: Bounded) -> Bounded:
    """The sum; in a `Known` arithmetic as a product with ones, which is error-free in its leading part."""
    axis = -site.rank(0)

    def total(values: Array | float) -> Array:
        return np.asarray(np.broadcast_to(values, a.value.shape).sum(axis=axis))

    if not isinstance(site.arithmetic, Known):
        return Bounded(total(a.value), total(a.error), total(a.size))
    across = np.moveaxis(a.value, axis, -1)[..., None, :]
    value, rounding, _ = site.arithmetic.product(across, np.ones((across.shape[-1], 1)), None)
    return Bounded(value[..., 0, 0], total(a.error) + np.asarray(rounding)[..., 0, 0], 0.0)


def _sum_exact(site: Site, a: Balls) -> list[Ball]:
    if site.rank(0) == 1:
        return [sum(a.entries, arb(0))]
    return [sum(column, arb(0)) for column in zip(*a.rows(), strict=True)]


def _mean_exact(site: Site, a: Balls) -> list[Ball]:
    return [entry / site.examples for entry in _sum_exact(site, a)]


def _spread(site: Site, values: Array, like: Array) -> Array:
    """() or (h,), with leading axes, repeated for the n examples of ``like`` (…, n, …)."""
    rows = _to_examples(site.rank(0), np.asarray(values))
    lead, examples = np.ndim(values) - site.rank(0), like.shape[like.ndim - site.rank(1)]
    return np.broadcast_to(rows, (*rows.shape[:lead], examples, *rows.shape[lead + 1 :]))


def _share_value(site: Site, g: Array, like: Array) -> Array:
    return _spread(site, g / site.examples, like)


def _share_bound(site: Site, g: Bounded, like: Bounded) -> Bounded:
    value = _share_value(site, g.value, like.value)
    error = _to_examples(site.rank(0), np.asarray(g.error / site.examples))
    error = error + site.arithmetic.u * np.abs(value) + site.arithmetic.tiny
    return Bounded(value, error, np.abs(value))


def _share_exact(site: Site, g: Balls, like: Balls) -> list[Ball]:
    return [entry / site.examples for entry in g.entries] * like.shape[0]


def _each_value(site: Site, a: Array, like: Array) -> Array:
    return _spread(site, a, like)


def _each_bound(site: Site, a: Bounded, like: Bounded) -> Bounded:
    value = _each_value(site, a.value, like.value)
    return Bounded(value, _to_examples(site.rank(0), np.asarray(a.error)), np.abs(value))


# --- along the classes ------------------------------------------------------------------------------------


def softmax(a: Array) -> Array:
    """exp(aᵢ)/Σ exp(aⱼ) along the last axis."""
    e = np.exp(a - a.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _logsumexp_value(site: Site, a: Array) -> Array:
    top = a.max(axis=-1)
    return np.asarray(top + np.log(np.exp(a - top[..., None]).sum(axis=-1)))


def _logsumexp_bound(site: Site, a: Bounded) -> Bounded:
    """The slope is a softmax, whose entries add up to 1; max + log Σ exp(a - max), or log Σ exp a."""
    value, k = _logsumexp_value(site, a.value), a.value.shape[-1]
    size = np.abs(a.value).max(axis=-1)
    carried = np.broadcast_to(a.error, a.value.shape).max(axis=-1)
    rounding = site.arithmetic.u * ((K_EXP + 4.0) * (np.abs(value) + size) + K_EXP + k + 2.0)
    return Bounded(value, carried + rounding, np.abs(value) + 2.0 * size)


def _logsumexp_exact(site: Site, a: Balls) -> list[Ball]:
    entries = []
    for row in a.rows():
        top = max(row, key=lambda entry: float(entry.mid()))
        entries.append(top + sum(((entry - top).exp() for entry in row), arb(0)).log())
    return entries


def _softmax_bound(site: Site, a: Bounded) -> Bounded:
    """∂pᵢ/∂aⱼ = pᵢ (δᵢⱼ - pⱼ): at most 2 pᵢ (1 - pᵢ) for errors of one size; exp(a - max) loses u|a| more."""
    p, k = softmax(a.value), a.value.shape[-1]
    worst = np.broadcast_to(a.error, a.value.shape).max(axis=-1, keepdims=True)
    spread = np.abs(a.value).max(axis=-1, keepdims=True)
    moved = worst + site.arithmetic.u * (2.0 * spread + K_EXP)
    slope = np.minimum(0.5, 2.0 * _grow(p, 2.0 * moved))
    rounding = (K_SIGMOID + k) * site.arithmetic.u * (p + _faint(site)) + site.arithmetic.tiny
    return Bounded(p, _cap(slope * moved, 1.0) + rounding, p)


def _faint(site: Site) -> float:
    """1 for an absolute error of a probability, because p - 1 and other ways lose digits where it is small; else 0."""
    return 0.0 if isinstance(site.arithmetic, Known) else 1.0


def _softmax_exact(site: Site, a: Balls) -> list[Ball]:
    entries = []
    for row in a.rows():
        top = max(row, key=lambda entry: float(entry.mid()))
        e = [(entry - top).exp() for entry in row]
        below = sum(e, arb(0))
        entries += [entry / below for entry in e]
    return entries


def _weigh_value(site: Site, p: Array, g: Array) -> Array:
    return np.asarray(p * g[..., None])


def _weigh_bound(site: Site, p: Bounded, g: Bounded) -> Bounded:
    value = _weigh_value(site, p.value, g.value)
    error, size = (np.asarray(part)[..., None] if np.ndim(part) else part for part in (g.error, g.size))
    wide = Bounded(g.value[..., None], error, size)
    return Bounded(value, *_multiply_bound(site, value, p, wide))


def _weigh_exact(site: Site, p: Balls, g: Balls) -> list[Ball]:
    return [entry * weight for row, weight in zip(p.rows(), g.entries, strict=True) for entry in row]


def _class_index(y: Array) -> Array:
    return np.asarray(y, dtype=np.int64)[..., None]


def _pick_value(site: Site, a: Array, y: Array) -> Array:
    places = np.broadcast_to(_class_index(y), (*a.shape[:-1], 1))
    return np.asarray(np.take_along_axis(a, places, axis=-1)[..., 0])


def _pick_bound(site: Site, a: Bounded, y: Bounded) -> Bounded:
    value = _pick_value(site, a.value, y.value)
    error, size = (np.broadcast_to(part, a.value.shape) for part in (a.error, a.size))
    return Bounded(value, _pick_value(site, error, y.value), _pick_value(site, size, y.value))


def _pick_exact(site: Site, a: Balls, y: Balls) -> list[Ball]:
    return [row[int(float(label))] for row, label in zip(a.rows(), y.entries, strict=True)]


def _unpick_value(site: Site, g: Array, y: Array, like: Array) -> Array:
    result = np.zeros(np.broadcast_shapes((*g.shape, 1), like.shape[-2:]), dtype=g.dtype)
    np.put_along_axis(result, np.broadcast_to(_class_index(y), (*result.shape[:-1], 1)), g[..., None], axis=-1)
    return result


def _unpick_bound(site: Site, g: Bounded, y: Bounded, like: Bounded) -> Bounded:
    value = _unpick_value(site, g.value, y.value, like.value)
    error = np.broadcast_to(g.error, g.value.shape)
    return Bounded(value, _unpick_value(site, error, y.value, like.value), np.abs(value))


def _unpick_exact(site: Site, g: Balls, y: Balls, like: Balls) -> list[Ball]:
    width = like.shape[-1]
    rows = zip(g.entries, y.entries, strict=True)
    return [entry if j == int(float(k)) else arb(0) for entry, k in rows for j in range(width)]


# --- an update --------------------------------------------------------------------------------------------


def _descend_value(site: Site, theta: Array, rate: Array, g: Array) -> Array:
    return np.asarray(theta - rate * g)


def _descend_bound(site: Site, theta: Bounded, rate: Bounded, g: Bounded) -> Bounded:
    """θ - ηg: the product with η, another for a fused or re-associated η, and the difference.

    A program may multiply by η before it divides g by n, or divide g by 1/η.
    """
    a, eta, n = site.arithmetic, float(rate.value), site.examples
    moved = eta * g.value
    value = theta.value - moved
    error = theta.error + eta * np.asarray(g.error) + a.u * (2.0 * np.abs(moved) + np.abs(value)) + 4.0 * a.tiny
    summed = n * np.asarray(g.size)
    if eta < HEADROOM * n * a.tiny:  # η/n underflows, before the sum multiplies it
        error = error + 4.0 * a.tiny * summed
    size = np.abs(theta.value) + np.abs(moved)
    inside = (np.maximum(eta * summed, size) <= a.top) & a.invertible(eta)
    return Bounded(value, np.where(inside, error, np.inf), size)


def _descend_exact(site: Site, theta: Balls, rate: Balls, g: Balls) -> list[Ball]:
    (eta,) = rate.entries
    return [entry - eta * slope for entry, slope in zip(theta.entries, g.entries, strict=True)]


RULES: dict[str, Rule | Reduction] = {
    "add": _elementwise(np.add, _add_bound, lambda a, b: a + b),
    "multiply": _elementwise(np.multiply, _multiply_bound, lambda a, b: a * b),
    "negative": _elementwise(np.negative, _unrounded_bound, lambda a: -a),
    "exp": _elementwise(np.exp, _exp_bound, lambda a: a.exp()),
    "log": _elementwise(np.log, _log_bound, lambda a: a.log()),
    "reciprocal": _elementwise(np.reciprocal, _reciprocal_bound, lambda a: 1 / a),
    "inverse_square": _elementwise(lambda a: 1.0 / (a * a), _inverse_square_bound, lambda a: 1 / (a * a)),
    "softplus": _elementwise(softplus, _softplus_bound, _exact_softplus),
    "sigmoid": _elementwise(sigmoid, _sigmoid_bound, _exact_sigmoid),
    "sigmoid_slope": _elementwise(lambda s: sigmoid(s) * sigmoid(-s), _sigmoid_slope_bound, _exact_sigmoid_slope),
    "tanh": _elementwise(np.tanh, _tanh_bound, lambda a: a.tanh()),
    "tanh_slope": _elementwise(lambda a: 1.0 / np.cosh(a) ** 2, _tanh_slope_bound, lambda a: 1 / a.cosh() ** 2),
    "absolute": _elementwise(np.abs, _lipschitz_bound, abs),
    "relu": _elementwise(lambda a: np.maximum(a, 0.0), _lipschitz_bound, lambda a: a if a > 0 else arb(0)),
    "sign": _elementwise(np.sign, _kink_bound(2.0), lambda a: arb(1) if a > 0 else arb(-1) if a < 0 else arb(0)),
    "step": _elementwise(
        lambda a: np.heaviside(a, 0.5), _kink_bound(1.0), lambda a: arb(1) if a > 0 else arb(0) if a < 0 else arb(0.5)
    ),
    "affine": Rule(_affine_value, _affine_bound, _affine_exact),
    "back_through": Rule(_through_value, _through_bound, _through_exact),
    "dot": Rule(_dot_value, _dot_bound, _dot_exact),
    "share": Rule(_share_value, _share_bound, _share_exact),
    "each": Rule(_each_value, _each_bound, lambda site, a, like: a.entries * like.shape[0]),
    "logsumexp": Rule(_logsumexp_value, _logsumexp_bound, _logsumexp_exact),
    "softmax": Rule(lambda site, a: softmax(a), _softmax_bound, _softmax_exact),
    "weigh": Rule(_weigh_value, _weigh_bound, _weigh_exact),
    "pick": Rule(_pick_value, _pick_bound, _pick_exact),
    "unpick": Rule(_unpick_value, _unpick_bound, _unpick_exact),
    "exactly": Rule(lambda site, a: a, _exactly_bound, lambda site, a: a.entries),
    "either": Rule(lambda site, a, b: a, _either_bound, lambda site, a, b: a.entries),
    "known_as": Rule(
        lambda site, a, b: b, lambda site, a, b: Bounded(b.value, a.error, a.size), lambda site, a, b: a.entries
    ),
    "descend": Rule(_descend_value, _descend_bound, _descend_exact),
    "mean": Reduction(_sum_value, _sum_part, _mean_exact, mean=True),
    "sum_of_examples": Reduction(_sum_value, _sum_part, _sum_exact),
    "over_examples": Reduction(_over_value, _over_part, _over_exact, route=True),
}
WHOLE = ("labels", "constant", "sign", "step")
"""operations whose results are small whole numbers"""
