"""Every exception and warning class of the library.

Messages say three things: what was expected, what came, and what to do.
"""

from __future__ import annotations


class HoiError(Exception):
    """Base of every error that the library raises on purpose."""


class InputError(HoiError, ValueError):
    """An argument, an input file or a text is not what was asked for."""


class OptionError(InputError):
    """A method was constructed or called with an unusable option."""


class PlayerError(InputError):
    """A feature mask, or the players drawn from a text or an image, cannot be used."""


class TooManyPlayersError(PlayerError):
    """The exact table of all coalitions would be larger than the limit allows."""


class TargetError(InputError):
    """The target does not exist in the model's output."""


class ModelOutputError(HoiError, ValueError):
    """The model gave an output of the wrong shape, or a non-finite number."""


class UnknownNameError(InputError, LookupError):
    """No method, zoo model or view of that name is known."""


class NotFittedError(HoiError, ValueError, AttributeError):
    """Something that learns from data was used before ``fit``."""


class FidelityError(HoiError, ValueError):
    """What was learned of a model explains too little of it to be read."""


class PluginError(HoiError):
    """A plugin could not be loaded, or something that it registers breaks the contract."""


class FileError(HoiError, OSError):
    """A file cannot be read, or is not a file of ours."""


class HoiWarning(UserWarning):
    """Base of every warning that the library emits."""


class PluginWarning(HoiWarning):
    """A plugin was left out; ``hoi_captum.plugins()`` says why."""


class RoughnessWarning(HoiWarning):
    """Masking itself disturbs the model: the interactions are large against the effect explained."""


class ConvergenceWarning(HoiWarning):
    """A solver stopped before its tolerance was reached."""


class DataWarning(HoiWarning):
    """The data lack what a method hopes for, and it does the next best thing, which is said."""


class FidelityWarning(HoiWarning):
    """What was learned or sampled of a model explains less of it than one would wish."""


class CostWarning(HoiWarning):
    """What was asked for takes long; the warning says how long and how to make it shorter."""


class MemoryWarning(HoiWarning):
    """Memory ran out and the work goes on in smaller pieces."""


class TrainingModeWarning(HoiWarning):
    """A model is explained in training mode, where its outputs depend on chance or on the batch."""
