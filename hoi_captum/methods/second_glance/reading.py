"""A pair's second derivative in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

AMPLIFIES, DAMPENS, NEITHER = "amplifies", "dampens", "does not change"
UNKNOWN = "not known"

Shares = tuple[tuple[float, float], tuple[float, float]]

_PAPER = {
    (True, True): "amplified",
    (True, False): "dampened",
    (False, True): "absence magnifies",
    (False, False): "decreases with absence",
}


@dataclass(frozen=True)
class PairReading:
    r"""What the cross derivative of two units says of the influence that each has.

    The influence of j is the size of the output's derivative by it, :math:`|g_j|`. As i grows it changes by
    :math:`\mathrm{sign}(g_j) \, H_{ij}`: i *amplifies* j where both have one sign, and *dampens* it where
    they have not, whatever the sign of :math:`g_i` is. The two directions need not agree.

    Attributes:
        first, second: names of i and j.
        gradients: g_i and g_j.
        hessian: H_ij.
        of_second: what i does to the influence of j: ``amplifies``, ``dampens``, ``does not change``, or
            ``not known`` where the data of a fit do not show the pair.
        of_first: what j does to the influence of i.
        shares: over data, the shares of rows in which i amplifies j, and dampens it, and the same of what j
            does to i; in the other rows nothing changes. None of one row.
        paper_label: the label of the paper's table 1, which goes by the signs of g_i and H_ij.
    """

    first: str
    second: str
    gradients: tuple[float, float]
    hessian: float
    of_second: str
    of_first: str
    shares: Shares | None = None

    @classmethod
    def of(
        cls,
        names: tuple[str, str],
        gradients: tuple[float, float],
        hessian: float,
        shares: Shares | None = None,
    ) -> PairReading:
        """Read a pair: by its signs, or over data by what happens in more of the rows."""
        if math.isnan(hessian):
            of_second = of_first = UNKNOWN
        elif shares is None:
            of_second, of_first = (_effect(g * hessian) for g in reversed(gradients))
        else:
            of_second, of_first = (_effect(more - less) for more, less in shares)
        return cls(*names, gradients, hessian, of_second, of_first, shares)

    @property
    def paper_label(self) -> str:
        """``amplified`` (++), ``dampened`` (+-), ``absence magnifies`` (-+) or ``decreases with absence``
        (--), by the signs of g_i and H_ij (Shahid et al. 2024, table 1); "" where one of them is 0.
        """
        if not self.gradients[0] or not self.hessian or math.isnan(self.hessian):
            return ""
        return _PAPER[self.gradients[0] > 0, self.hessian > 0]

    def __str__(self) -> str:
        if self.of_second == UNKNOWN:
            return f"the data do not show how {self.first!r} and {self.second!r} act together"
        if self.shares is not None:
            (more, less), (more_back, less_back) = self.shares
            return (
                f"more of {self.first!r} amplifies the influence of {self.second!r} in {100 * more:.0f} % of "
                f"the rows and dampens it in {100 * less:.0f} %, and more of {self.second!r} amplifies that "
                f"of {self.first!r} in {100 * more_back:.0f} % and dampens it in {100 * less_back:.0f} % "
                f"(mean cross derivative {self.hessian:+.3g})"
            )
        there = _sentence(self.first, self.of_second, self.second)
        back = _sentence(self.second, self.of_first, self.first)
        signs = ", ".join(f"{g:+.3g}" for g in self.gradients)
        return f"{there}; {back} (derivatives {signs}, cross derivative {self.hessian:+.3g})"


def _effect(signed: float) -> str:
    return AMPLIFIES if signed > 0 else DAMPENS if signed < 0 else NEITHER


def _sentence(who: str, effect: str, whose: str) -> str:
    return f"more of {who!r} {effect} the influence of {whose!r}"
