"""Every exception and warning class of the library.

Messages say three things: what was expected, what came, and what to do.
"""

from __future__ import annotations


class HoiError(Exception):
    """Base of every error that the library raises on purpose.

    Examples::

        >>> try:
        ...     hoi.zoo.load("no-such-model")
        ... except hoi.errors.HoiError as error:
        ...     print(type(error).__name__)
        UnknownNameError
    """


class InputError(HoiError, ValueError):
    """An argument, an input file or a text is not what was asked for.

    Examples::

        >>> hoi.PerModel()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.InputError: PerModel expects one item for each model, got none: ...
    """


class OptionError(InputError):
    """A method was constructed or called with an unusable option.

    Examples::

        >>> hoi.GeneralizableAndOr(torch.sigmoid, alpha=2.0)
        Traceback (most recent call last):
            ...
        hoi_captum.errors.OptionError: expected alpha to be a number in [0, 1], got 2.0
    """


class PlayerError(InputError):
    """A feature mask, or the players drawn from a text or an image, cannot be used.

    Examples::

        >>> mask = torch.tensor([[0, 2]])
        >>> hoi.MaskedGame(torch.sum, torch.ones(1, 2), feature_mask=mask)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.PlayerError: expected feature_mask ids 0..n-1 without gaps; the largest is 2 ...
    """


class TooManyPlayersError(PlayerError):
    """The exact table of all coalitions would be larger than the limit allows.

    Examples::

        >>> hoi.GeneralizableAndOr(torch.sum).interact(torch.ones(1, 20))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.TooManyPlayersError: 20 players need 2^20 = 1,048,576 model passes for each ...
    """


class TargetError(InputError):
    """The target does not exist in the model's output.

    Examples::

        >>> hoi.MaskedGame(torch.sigmoid, torch.ones(1, 2), target=5).table()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.TargetError: target 5 does not exist in an output of shape (4, 2): index 5 ...
    """


class ModelOutputError(HoiError, ValueError):
    """The model gave an output of the wrong shape, or a non-finite number.

    Examples::

        >>> hoi.MaskedGame(lambda x: x.log().sum(1), torch.ones(1, 2)).table()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.ModelOutputError: the model gave -inf for row 0 of the batch with players [] ...
    """


class UnknownNameError(InputError, LookupError):
    """No method, zoo model or view of that name is known.

    Examples::

        >>> hoi.get_method("taylor-cm")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.UnknownNameError: no method is called 'taylor-cm' (did you mean ...
    """


class NotFittedError(HoiError, ValueError, AttributeError):
    """Something that learns from data was used before ``fit``.

    Examples::

        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh())
        >>> hoi.LayerLocalCorEx(net, net[1]).attribute(torch.ones(1, 2))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.NotFittedError: this LayerLocalCorEx is not fitted yet; call fit(data) ...
    """


class FidelityError(HoiError, ValueError):
    """What was learned of a model explains too little of it to be read.

    Examples::

        >>> net, data = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh()), torch.randn(300, 4)
        >>> hoi.GraphSpectral(net, net[1], max_steps=10).fit(data)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.FidelityError: the units explain ... of the layer's variance ...
    """


class PluginError(HoiError):
    """A plugin could not be loaded, or something that it registers breaks the contract.

    Examples::

        >>> from hoi_captum.registry import check_method
        >>> check_method("my-method", dict)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.PluginError: registers the method 'my-method', which is no subclass of ...
    """


class FileError(HoiError, OSError):
    """A file cannot be read, or is not a file of ours.

    Examples::

        >>> hoi.Interactions.load("no-such-file.safetensors")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.FileError: cannot read no-such-file.safetensors: ...
    """


class HoiWarning(UserWarning):
    """Base of every warning that the library emits.

    Examples::

        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("error", hoi.errors.HoiWarning)  # none is overlooked
        ...     hoi.graphs.learned_graph(np.ones((8, 2)))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.DataWarning: 2 of 2 neurons are constant over these rows and have no neighbours...
    """


class PluginWarning(HoiWarning):
    """A plugin was left out; ``hoi_captum.plugins()`` says why.

    Examples::

        >>> import warnings
        >>> from importlib.metadata import EntryPoint
        >>> from hoi_captum.registry import Registry
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     registry = Registry([EntryPoint("my-plugin", "no_such_module", "hoi_captum")])
        >>> print(caught[0].message)  # doctest: +ELLIPSIS
        plugin 'my-plugin' was left out: it raised ModuleNotFoundError: ...
    """


class RoughnessWarning(HoiWarning):
    """Masking itself disturbs the model: the interactions are large against the effect explained.

    Examples::

        >>> import warnings
        >>> method = hoi.GeneralizableAndOr(lambda x: 100 * x[:, 0] - 99 * x[:, 1])  # 1 in all
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     table = method.interact(torch.ones(1, 2))
        >>> print(caught[0].message)  # doctest: +ELLIPSIS
        roughness 199: the plain interactions are together 199 times as large as the total effect ...
    """


class ConvergenceWarning(HoiWarning):
    """A solver stopped before its tolerance was reached.

    Examples::

        >>> import warnings
        >>> X = np.random.default_rng(0).normal(size=(50, 4))
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     model = hoi.corex.LinearCorEx(n_factors=1, max_iter=1).fit(X)
        >>> print(caught[-1].message)  # doctest: +ELLIPSIS
        LinearCorEx stopped after max_iter=1 iterations of its last stage, ...
    """


class DataWarning(HoiWarning):
    """The data lack what a method hopes for, and it does the next best thing, which is said.

    Examples::

        >>> import warnings
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     graph = hoi.graphs.learned_graph(np.ones((8, 2)))
        >>> print(caught[0].message)  # doctest: +ELLIPSIS
        2 of 2 neurons are constant over these rows and have no neighbours; ...
    """


class FidelityWarning(HoiWarning):
    """What was learned or sampled of a model explains less of it than one would wish.

    Examples::

        >>> import warnings
        >>> method = hoi.SecondGlance(lambda x: torch.sin(40 * x.prod(1)))
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     table = method.interact(torch.ones(1, 2))
        >>> print(caught[0].message)  # doctest: +ELLIPSIS
        in 1 of 1 rows no pair stands out of the noise of 128 drawn gradients (see stderr); ...
    """


class CostWarning(HoiWarning):
    """What was asked for takes long; the warning says how long and how to make it shorter.

    Examples::

        >>> import warnings
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     table = hoi.TaylorCAM(lambda x: x.sum(1) ** 2).interact(torch.ones(1, 70))
        >>> print(caught[0].message)  # doctest: +ELLIPSIS
        70 units, mode 'exact': about 388 forward passes for each row; ...
    """


class MemoryWarning(HoiWarning):
    """Memory ran out and the work goes on in smaller pieces.

    Examples::

        >>> import warnings
        >>> from hoi_captum.authoring import PassSize
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     PassSize(8).halve(failed=8)  # as a game does where a pass of 8 rows has failed
        >>> print(caught[0].message)  # doctest: +ELLIPSIS
        memory ran out with 8 rows in one pass; going on with 4. ...
    """


class TrainingModeWarning(HoiWarning):
    """A model is explained in training mode, where its outputs depend on chance or on the batch.

    Classes warn, and run the model as it is; ``hoi.explain`` puts it into evaluation mode meanwhile.

    Examples::

        >>> import warnings
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Dropout())
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     tables = hoi.TaylorCAM(model).interact(torch.ones(1, 2), target=0)
        >>> print(caught[0].message)  # doctest: +ELLIPSIS
        Sequential is in training mode, where its Dropout layers make the outputs depend on chance ...
    """
