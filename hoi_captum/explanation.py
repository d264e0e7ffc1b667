"""One call from a model and raw data to interactions, and what comes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hoi_captum.adapters.base import Objective
from hoi_captum.adapters.outputs import OUTPUTS, Output
from hoi_captum.calling import run_method
from hoi_captum.core.example import Example, Layout, TextLayout
from hoi_captum.core.files import atomic_path, read_safetensors, write_safetensors
from hoi_captum.core.interactions import Interactions
from hoi_captum.errors import FileError, OptionError
from hoi_captum.preparation import Prepared, prepared
from hoi_captum.registry import registry
from hoi_captum.saved import FIGURES, check_destination, finite, pack_layout, unpack_layout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "hoi_captum.explanation/1"
_UNITS = {
    "log_odds": "log-odds",
    "logit": "logit",
    "log_prob": "nats",
    "prob": "probability",
    "margin": "logit difference",
}


@dataclass(frozen=True, eq=False)
class Explanation:
    """What :func:`explain` gives.

    Attributes:
        interactions: the table of interactions.
        attributions: as the method's ``attribute`` gives them (``PerModel`` for several models); None in
            an explanation that was loaded from a file.
        example: the explained input; None in an explanation that was loaded from a file.
        layout: what is needed to draw the players.
        method: the instance that explained, fitted where it learns: for its other verbs, and its ``save``;
            None in an explanation that was loaded from a file.

    Examples::

        >>> model = torch.nn.Linear(2, 1)
        >>> model.weight = torch.nn.Parameter(torch.tensor([[2.0, 1.0]]))
        >>> explanation = hoi.explain(model, {"age": 2.0, "height": 1.5}, target=0)
        >>> explanation.interactions.players, explanation.attributions.round(decimals=3)
        (('age', 'height'), tensor([[4.0000, 1.5000]]))
    """

    interactions: Interactions
    layout: Layout | None = None
    attributions: Any = None
    example: Example | None = None
    method: Any = None

    def show(self, k: int = 10) -> None:
        """Print the k strongest interactions as a table; in a notebook, show the page instead."""
        from rich.console import Console

        from hoi_captum.views import interaction_table

        if _in_notebook():
            from IPython.display import HTML, display

            display(HTML(self._repr_html_()))
            return
        console = Console()
        console.print(interaction_table(self.interactions, k=k))
        console.print(self.summary(), soft_wrap=True, markup=False, highlight=False)

    def summary(self) -> str:
        """What it took, and how well it went, in one line."""
        source = self.interactions.provenance
        unit = source.details.get("unit")
        explained = f"explains {source.target!r}" + (f" in {unit}" if unit else "")
        parts = [str(source.details.get("about", explained))]
        if source.forward_passes or source.backward_passes:
            parts.append(f"{source.forward_passes + source.backward_passes:,} model rows")
        kept = source.details.get("checkpoint")
        if isinstance(kept, Mapping) and kept.get("resumed_rows"):
            parts.append(f"{kept['resumed_rows']:,} rows from the checkpoint")
        if source.details.get("fit_seconds"):
            parts.append(f"learned in {source.details['fit_seconds']:.1f} s")
        elif source.seconds:
            parts.append(f"{source.seconds:.1f} s")
        if "how" in source.details:
            parts.append(str(source.details["how"]))
        for name in ("roughness", "gap"):
            if name in source.details:
                values = source.details[name]
                numbers = values if isinstance(values, list) else [values]
                parts.append(f"{name} {', '.join(f'{v:.2g}' for v in numbers)}")
        return " · ".join(parts)

    def __repr__(self) -> str:
        return f"Explanation({self.summary()}; {self.interactions!r})"

    def page(self) -> str:
        """The self-contained HTML page."""
        from hoi_captum.views import render_page

        return render_page(self.interactions, self.layout, title=self._title())

    def plot(self, view: str | None = None, **options: Any) -> Figure:
        """A drawing: one of the registered views, or what suits the input best."""
        from hoi_captum.views import default_plot
        from hoi_captum.views.wording import heading_of

        views = registry().views
        if view is not None and view not in views:
            raise OptionError(f"expected view to be one of {', '.join(sorted(views))}; got {view!r}")
        draw: Callable[..., Figure] = default_plot if view is None else views[view]
        options.setdefault("title", heading_of(self.interactions))
        return draw(self.interactions, self.layout, **options)

    def save(self, path: str | os.PathLike[str], *, view: str | None = None) -> Path:
        """Write the explanation; the file's ending says how. All or nothing.

        Args:
            path: ``.html`` (page), ``.json`` (all terms, for other programs), ``.safetensors`` (everything,
                for :meth:`load`), ``.png``, ``.svg`` or ``.pdf`` (a drawing).
            view: which drawing; see :meth:`plot`.

        Raises:
            OptionError: another ending, an unknown view, or a view for a file that is no drawing.
            FileError: the file cannot be written.
        """
        target = Path(path)
        suffix = check_destination(target)
        if view is not None and suffix not in FIGURES:
            raise OptionError(
                f"expected view with a drawing ({', '.join(FIGURES)}); got view {view!r} for {target.name!r}"
            )
        if suffix == ".safetensors":
            return write_safetensors(target, *self._pack())
        if suffix in FIGURES:
            figure = self.plot(view)
            with atomic_path(target) as temporary:
                figure.savefig(temporary, dpi=150, bbox_inches="tight")
        else:
            text = self.page() if suffix == ".html" else self.to_json()
            with atomic_path(target) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Explanation:
        """Read what :meth:`save` wrote as ``.safetensors``.

        Raises:
            FileError: the file cannot be read, or is none of ours.
        """
        arrays, metadata = read_safetensors(path, FORMAT)
        try:
            interactions = _result_class(metadata).unpack(arrays, metadata)
            return cls(interactions, unpack_layout(json.loads(metadata["layout"]), arrays))
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise FileError(f"{path} is damaged ({error!r}); write it anew") from error

    def to_json(self) -> str:
        """All terms with names, scores and how they were computed, as JSON."""
        table, source = self.interactions, self.interactions.provenance
        return json.dumps(
            finite(
                {
                    "format": FORMAT,
                    "method": source.method,
                    "target": source.target,
                    "models": source.model,
                    "players": table.players,
                    "base": table.base,
                    "terms": [
                        {
                            "members": t.members,
                            "players": [table.players[i] for i in t.members],
                            "kind": t.kind,
                            "order": t.order,
                            "scope": t.scope,
                            "score": t.score,
                        }
                        | ({} if t.weights is None else {"weights": t.weights})
                        for t in table.top(len(table))
                    ],
                    "provenance": json.loads(source.to_json()),
                }
            ),
            ensure_ascii=False,
            allow_nan=False,
            indent=1,
        )

    def _repr_html_(self) -> str:
        from html import escape

        # in a frame of its own, so that the page's styles and policy stay its own
        return f'<iframe srcdoc="{escape(self.page())}" style="width:100%;height:760px;border:0"></iframe>'

    def _title(self) -> str:
        if isinstance(self.layout, TextLayout):
            text = "".join(piece for piece, _ in self.layout.pieces)
            return text if len(text) <= 80 else text[:79] + "…"
        source = self.interactions.provenance
        return f"Interactions: {source.details.get('about', source.target)}"

    def _pack(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        arrays, metadata = self.interactions.pack()
        layout, extra = pack_layout(self.layout)
        return arrays | extra, metadata | {"format": FORMAT, "layout": json.dumps(layout)}


def explain(
    model: Any,
    data: Any,
    method: str | type = "generalizable-and-or",
    *,
    tokenizer: Any = None,
    target: Any = None,
    layer: Any = None,
    background: Any = None,
    players: Any = None,
    baseline: Any = None,
    template: str | None = None,
    transforms: Any = None,
    labels: Sequence[str] | None = None,
    output: Output | None = None,
    internal_batch_size: int | None = None,
    show_progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    method_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Explanation:
    """Explain one input of a model, or of several models at once, by its interactions.

    Args:
        model: a HuggingFace sequence classifier or causal LM, an image classifier, a tabular module, an
            adapter, ``zoo:NAME``, a path or hub name; or a list of these where the method takes several.
        data: a text, an image (path, PIL, array, Tensor) or a row of numbers.
        method: registered name, or a method class. Default: ``generalizable-and-or``
        tokenizer: of a text model (a list for several). Default: None (loaded with a named model)
        target: a label, token or column; a pair of these is a contrast (difference of their logits).
            Default: what the (first) model predicts
        layer: of layer methods: a module, or its dotted name. Default: the adapter's choice
        background: many inputs of the kind of ``data`` for a method that learns (texts, images, rows), where
            it must or may; rows of data for tabular baselines. Default: None
        players: what can be absent: for texts ``words``, ``tokens`` or a list of spans; for images a grid
            (rows, columns) or a mask; for tables a player for each feature. Default: None (what the
            adapter finds: words, a grid, features)
        baseline: what an absent player becomes; names and values as the adapter's ``example`` has them, or
            ``PerModel`` of these. Default: None (the adapter's)
        template: a prompt with ``{}`` where the text goes. Default: None (the text alone)
        transforms: of an image model: PIL image -> (C, H, W). Default: None (loaded with a named model)
        labels: names of the classes. Default: None (the model's own)
        output: ``log_odds``, ``logit``, ``log_prob``, ``prob``, ``margin`` or a function of the scores.
            Default: the method's own, mostly ``log_odds``
        internal_batch_size: most model rows in one pass. Default: None (by the size of the inputs)
        show_progress: a bar on stderr. Default: False
        checkpoint: a file that keeps the model's values as they are computed: a run that was stopped, even
            killed, goes on from there. It stays, for other options of the method at eight passes for each
            model, by which it is known again; one made for another input, target or model is refused.
            Default: None
        method_options: of the method's constructor, as ``options`` are; for names that are taken here, as in
            ``{"method": "layout"}``. Default: None
        options: of the method's constructor.

    Returns:
        Explanation: ``.interactions``, ``.attributions``, ``.show()``, ``.save("page.html")``.

    Raises:
        InputError: arguments that cannot be used; its subclasses say which.
        ModelOutputError: the model gave something that is not finite.
        FileError: the checkpoint cannot be written, or belongs to something else.

    Examples::

        >>> explanation = hoi.explain("zoo:sentiment-bert-a", "not a bad film", target="positive")
        >>> explanation.interactions.players
        ('not', 'a', 'bad', 'film')
    """
    with prepared(
        model,
        data,
        method,
        tokenizer=tokenizer,
        target=target,
        layer=layer,
        background=background,
        players=players,
        baseline=baseline,
        template=template,
        transforms=transforms,
        labels=labels,
        output=output,
        method_options=method_options,
        **options,
    ) as asked:
        instance, example = asked.instance, asked.example
        asked.check_checkpoint(checkpoint)
        if asked.learns_first:
            asked.fit(show_progress=show_progress)
        extra = {
            "internal_batch_size": internal_batch_size,
            "show_progress": show_progress,
            "checkpoint": checkpoint,
        }
        attributions, interactions = run_method(instance, asked.call, extra)
    # a unit that the method tells of its scores goes before that of the output
    details = _notes(asked) | dict(interactions.provenance.details)
    interactions = interactions.with_provenance(target=_target_name(asked.objectives), details=details)
    if getattr(instance, "players_are_neurons", False):  # which the input's layout does not show
        return Explanation(interactions, None, attributions, example, instance)
    if len(interactions.players) != len(example.names):  # a layer's units, which are none of the input's
        return Explanation(interactions, None, attributions, example, instance)
    interactions = interactions.with_players(example.names)
    return Explanation(interactions, example.layout, attributions, example, instance)


def _result_class(metadata: Mapping[str, str]) -> type[Interactions]:
    """The type of result that the method gives; the general one where the method is not installed."""
    method = registry().methods.get(json.loads(metadata["provenance"])["method"])
    return getattr(method, "result", Interactions)


def _notes(asked: Prepared) -> dict[str, Any]:
    contrast = asked.objectives[0].target is None
    # an adapter that was given has an output of its own
    units = {_unit(adapter.output) for adapter in asked.adapters}
    if contrast:
        # the log-odds of one class against one other are the difference of their logits
        units = {f"{'logit' if unit == 'log-odds' else unit or 'output'} difference" for unit in units}
    unit = units.pop() if len(units) == 1 else ""
    return {"unit": getattr(asked.cls, "unit", unit), "input": dict(asked.example.notes or {})}


def _unit(output: Callable[..., Any]) -> str:
    plain = getattr(output, "__wrapped__", output)
    return next((_UNITS[name] for name, function in OUTPUTS.items() if function is plain), "")


def _target_name(objectives: Sequence[Objective]) -> str:
    names = list(dict.fromkeys(o.label for o in objectives))
    return ", ".join(names)


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
