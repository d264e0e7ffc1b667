"""One call from a model and samples to a baseline that is made for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hoi_captum.adapters.baselines import LearnedBaseline
from hoi_captum.adapters.learned import fit_baseline
from hoi_captum.adapters.outputs import Output
from hoi_captum.inputs import adapt


def learn_baseline(
    model: Any,
    samples: Any,
    *,
    tokenizer: Any = None,
    transforms: Callable[[Any], Any] | None = None,
    labels: Sequence[str] | None = None,
    output: Output | None = None,
    players: Any = None,
    template: str | None = None,
    background: Any = None,
    baseline: Any = None,
    target: Any = None,
    draws: int = 10,
    epochs: int = 100,
    learning_rate: float = 1e-3,
    held_out: float = 0.25,
    seed: int = 0,
    show_progress: bool = False,
) -> LearnedBaseline:
    r"""Learn the masked state of a model: the baseline under which its players interact least.

    Minimises :math:`E\,|v(S_1 \cup S_2 \cup S_3) - v(S_1 \cup S_3) - v(S_2 \cup S_3) + v(S_3)|` over random
    disjoint sets of players (Ren, Zhou, Chen, Zhang, ICLR 2023) by stochastic gradient descent with momentum
    0.9, one step for each sample. The loss is measured in parts of the mean :math:`|v(N) - v(\emptyset)|` at
    the start, or of the present one where that has become smaller, so that nothing is won by making v flat;
    what leaves less than half of it is not taken. Samples that are held out choose the epoch, so the result
    is never worse on them than the start, and the search ends when 20 epochs brought nothing. The model gets
    no gradients and is left as it was.

    Args:
        model: what :func:`hoi_captum.adapt` takes; one model.
        samples: texts, images or rows, as the model's explanations will have them; 50 are a beginning. Show
            all classes: a baseline learned from one class is biased against it. Those with one player are
            skipped.
        tokenizer, transforms, labels, output: see :func:`hoi_captum.adapt`.
        players, template, background: see the adapter's ``example``.
        baseline: where the search starts; for texts the name of a token, ``mean``, ``zero``, ... Default: the
            adapter's, for texts the one that suits most samples
        target: a label, a pair of labels to contrast (a tuple), or a list with either for each sample.
            Default: what the model predicts
        draws (int): sets drawn for each sample and step: 4 draws + 1 rows go through the model at once, and
            are kept for the gradient. Default: 10
        epochs (int): times through the samples at most. Default: 100
        learning_rate (float): in the unit of the inputs' root mean square distance from the start.
            Default: 1e-3
        held_out (float): part of the samples that judge, at least one. Default: 0.25
        seed (int): of the split and the draws; the same seed gives the same baseline. Default: 0
        show_progress (bool): a bar on stderr, in epochs. Default: False

    Returns:
        LearnedBaseline: to be given as ``baseline=``; with the losses of each epoch.

    Raises:
        InputError: less than two samples with two players, a sample or target that cannot be used.
        OptionError: an option out of range, or one that the model's inputs do not have.
        ModelOutputError: the model's output is not finite.

    Examples::

        >>> texts = ["not a bad film", "a waste of time", "dull but not without charm", "great fun"]
        >>> learned = hoi.learn_baseline("zoo:sentiment-bert-a", texts, epochs=2)
        >>> learned.losses[learned.epoch] <= learned.losses[0]
        True
        >>> hoi.text_example("zoo:sentiment-bert-a", texts[0], baseline=learned).notes["baseline"]
        'learned'
    """
    adapter = adapt(model, tokenizer=tokenizer, transforms=transforms, labels=labels, output=output)
    return fit_baseline(
        adapter,
        samples,
        target=target,
        draws=draws,
        epochs=epochs,
        learning_rate=learning_rate,
        held_out=held_out,
        seed=seed,
        show_progress=show_progress,
        players=players,
        template=template,
        background=background,
        baseline=baseline,
    )
