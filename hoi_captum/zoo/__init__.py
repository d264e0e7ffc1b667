"""Small trained models that come with the package, to try methods on without a download.

``names()`` lists them, ``load(name)`` gives a model with what makes its inputs, ``samples(name)`` held-out
inputs with their labels and ``card(name)`` what is known about it. ``hoi_captum.zoo.train`` remakes them.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hoi_captum.errors import OptionError, UnknownNameError

if TYPE_CHECKING:
    from hoi_captum.zoo.cards import Record

__all__ = ["ZooModel", "card", "load", "names", "path", "prompt", "samples"]

_PREFIX = "zoo:"
_WEIGHTS = Path(__file__).parent / "weights"


class ZooModel(NamedTuple):
    """A model in eval mode, and what makes its input.

    The processor is a tokenizer for texts, transforms for images; that of the relation network turns a scene
    and a question into its two inputs (:class:`hoi_captum.zoo.relations.RelationProcessor`).

    Attributes:
        model: a torch module.
        processor: what makes its input.

    Examples::

        >>> model, transforms = hoi.zoo.load("digits-resnet")
        >>> model.training
        False
    """

    model: Any
    processor: Any


def names() -> list[str]:
    """The names of all models, sorted.

    Returns:
        *list[str]*

    Examples::

        >>> [name for name in hoi.zoo.names() if "bert" in name]
        ['sentiment-bert-a', 'sentiment-bert-b']
    """
    from hoi_captum.zoo.cards import RECORD_FILE

    return sorted(file.parent.name for file in _WEIGHTS.glob(f"*/{RECORD_FILE}"))


def path(name: str) -> Path:
    """The directory of a model; for the text models an ordinary Hugging Face one.

    Args:
        name (str): one of :func:`names`, with or without ``zoo:`` in front.

    Returns:
        *Path*

    Raises:
        UnknownNameError: no such model.

    Examples::

        >>> hoi.zoo.path("zoo:digits-resnet").name
        'digits-resnet'
        >>> hoi.zoo.path("digits-resnt")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hoi_captum.errors.UnknownNameError: no zoo model is called 'digits-resnt' (did you mean ...
    """
    known = names()
    wanted = name.removeprefix(_PREFIX)
    if wanted not in known:
        close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.4)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UnknownNameError(f"no zoo model is called {wanted!r}{hint}; there are {', '.join(known)}")
    return _WEIGHTS / wanted


def load(name: str) -> ZooModel:
    """A fresh copy of a model, on the CPU in float32 and eval mode, with its processor.

    Args:
        name (str): one of :func:`names`, with or without ``zoo:`` in front.

    Returns:
        ZooModel: ``model, processor = load(name)``.

    Raises:
        UnknownNameError: no such model.

    Examples::

        >>> model, tokenizer = hoi.zoo.load("sentiment-bert-a")
        >>> tokenizer.tokenize("not bad"), model.config.id2label[1]
        (['not', 'bad'], 'positive')
    """
    from hoi_captum.zoo.loading import load_directory

    return load_directory(path(name), _record(name).kind)


def card(name: str) -> str:
    """The model card: data, held-out accuracy, how it was made, its limits, often what to mask with.

    Args:
        name (str): one of :func:`names`, with or without ``zoo:`` in front.

    Returns:
        *str*: Markdown.

    Raises:
        UnknownNameError: no such model.

    Examples::

        >>> [line for line in hoi.zoo.card("digits-resnet").splitlines() if line.startswith("# ")]
        ['# digits-resnet']
    """
    from hoi_captum.zoo.cards import CARD_FILE

    return (path(name) / CARD_FILE).read_text("utf-8")


def prompt(name: str) -> str | None:
    """The text around the input of a causal language model, ``{}`` for the input; None for other models.

    Args:
        name (str): one of :func:`names`, with or without ``zoo:`` in front.

    Returns:
        *str* or None.

    Raises:
        UnknownNameError: no such model.

    Examples::

        >>> hoi.zoo.prompt("sentiment-llama-a"), hoi.zoo.prompt("sentiment-bert-a")
        ('review : {} sentiment :', None)
    """
    return _record(name).prompt


def samples(name: str, n: int | None = None) -> list[tuple[Any, str]]:
    """The first ``n`` (by default all) held-out inputs, each with its true label.

    Sentences for the text models, PIL images for the digit models, for the relation network pairs of a
    :class:`~hoi_captum.zoo.scenes.Scene` and a :class:`~hoi_captum.zoo.questions.Question`. No model of the
    zoo was trained on them.

    Args:
        name (str): one of :func:`names`, with or without ``zoo:`` in front.
        n (int, optional): how many. Default: None (all)

    Returns:
        *list* of pairs (input, label).

    Raises:
        UnknownNameError: no such model.
        OptionError: ``n`` below 0.

    Examples::

        >>> image, label = hoi.zoo.samples("digits-resnet", 1)[0]
        >>> image.size, label
        ((28, 28), '7')
    """
    if n is not None and n < 0:
        raise OptionError(f"expected n to be None or a number of samples, got {n}")
    from hoi_captum.zoo import held_out

    record = _record(name)
    return held_out.samples(record.kind, record.labels, n)


def _record(name: str) -> Record:
    from hoi_captum.zoo import cards

    return cards.read(path(name))
