"""The options of SecondGlance, checked."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from hoi_captum.core.options import check_choice, check_count, check_flag, check_number
from hoi_captum.errors import OptionError

SURROGATES = ("auto", "softplus", "paper", "ridge")
SYMMETRIES = ("auto", "average", "potential")
THIRDS = ("surrogate", "autodiff")
UNITS = ("auto", "mean", "pca", "presence")
SAMPLINGS = ("uniform", "gaussian", "bernoulli")
FACTORS = ("pca", "corex")
_LEAST_WIDTH = 64


@dataclass(frozen=True)
class LearnSettings:
    """How a surrogate is taught.

    Raises:
        OptionError: an option outside its range.
    """

    hidden: int | None
    symmetry: str
    third: str
    max_steps: int
    learning_rate: float
    validation: float
    seed: int

    def __post_init__(self) -> None:
        if self.hidden is not None:
            check_count("hidden", self.hidden)
        check_choice("symmetry", self.symmetry, SYMMETRIES)
        check_choice("third", self.third, THIRDS)
        check_count("max_steps", self.max_steps)
        check_number("learning_rate", self.learning_rate, low=1e-8, high=1.0)
        check_number("validation", self.validation, low=0.01, high=0.9)
        check_count("seed", self.seed, low=0)

    def width(self, units: int) -> int:
        """Neurons in each hidden layer."""
        return max(_LEAST_WIDTH, 4 * units) if self.hidden is None else self.hidden


@dataclass(frozen=True)
class DrawSettings:
    """How gates around one input are drawn.

    Raises:
        OptionError: an option outside its range.
    """

    sampling: str
    width: float
    n_samples: int | None
    seed: int

    def __post_init__(self) -> None:
        check_choice("sampling", self.sampling, SAMPLINGS)
        check_number("width", self.width, low=1e-3, high=10.0)
        if self.sampling == "uniform" and self.width > 1:
            raise OptionError(
                f"expected width of at most 1 with sampling='uniform', where gates are drawn from 1 - width "
                f"to 1 + width, got {self.width}"
            )
        if self.n_samples is not None:
            check_count("n_samples", self.n_samples, low=8)

    def samples(self, units: int, order: int, *, network: bool) -> int:
        """Gradients of each row, an even number of them."""
        if self.n_samples is not None:
            return self.n_samples + self.n_samples % 2
        if network:
            return max(1000, 50 * units)
        if order > 2:
            return max(256, 4 * units * (units + 1))  # four for each number of the quadratic part
        return max(128, 8 * units)


def check_surrogate(surrogate: object, symmetry: str) -> str | nn.Module:
    """A name, or a module.

    Raises:
        OptionError: neither, or one that has no potential.
    """
    kind = surrogate if isinstance(surrogate, nn.Module) else None
    if kind is None:
        name = check_choice("surrogate", surrogate, SURROGATES)
        if symmetry == "potential" and name in ("paper", "ridge"):
            raise OptionError(
                f"the surrogate {name!r} is no potential's gradient: expected surrogate='softplus' with "
                "symmetry='potential'"
            )
        return name
    if symmetry == "potential":
        raise OptionError(
            "a module of one's own is what it is: expected symmetry='average' or 'auto' with it, got "
            "'potential'"
        )
    return kind


def kind_around(surrogate: str | nn.Module, symmetry: str) -> str | nn.Module:
    """The surrogate around one input: ``auto`` is ridge there, which has no potential."""
    if surrogate != "auto":
        return surrogate
    return "softplus" if symmetry == "potential" else "ridge"


def check_space(units: str, factors: str, n_factors: int, force: bool) -> None:
    """The options of what a fit learns from.

    Raises:
        OptionError: one outside its range.
    """
    check_choice("units", units, UNITS)
    check_choice("factors", factors, FACTORS)
    check_count("n_factors", n_factors, low=2)
    check_flag("force", force)
