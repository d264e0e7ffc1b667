"""The three ways to put a question: one call, the class, the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hoi_captum as hoi
from hoi_captum.core.interactions import Interactions
from tests.matrix.samples import Sample

ROUTES = ("hoi.explain", "class", "command line")

Ask = Callable[..., Interactions]  # (sample, method, value, **options)


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked.

    Attributes:
        sample: with its layer and background, where it has them.
        method: the class.
        value: which number of the model is explained, as ``output`` of ``hoi.explain``.
        options: of the method's constructor.
    """

    sample: Sample
    method: Any
    value: str
    options: dict[str, Any]

    def by_explain(self) -> Interactions:
        sample = self.sample
        processor = "tokenizer" if sample.is_text else "transforms"
        return hoi.explain(
            sample.model,
            sample.raw,
            self.method.name,
            target=sample.target,
            output=self.value,
            layer=sample.layer,
            background=None if sample.background is None else sample.background.raws,
            method_options=self.options,
            **{processor: sample.processor},
            **sample.call,
        ).interactions

    def by_class(self) -> Interactions:
        """As any class of Captum's: a plain forward function and Tensors, no adapter."""
        sample, forward_func = self.sample, getattr(self.sample, self.value)
        if sample.layer is None:
            method, given = self.method(forward_func, **self.options), sample.masked._asdict()
        else:
            layer = sample.model.get_submodule(sample.layer)
            method, given = self.method(forward_func, layer, **self.options), {"inputs": sample.masked.inputs}
        if sample.background is not None:
            method.fit(sample.background.tensors)
        return method.interact(**given)[0]

    def command(self, out: Path) -> list[str]:
        """The words of the command line that writes the answer to ``out`` and prints it as JSON."""
        sample = self.sample
        first, against = sample.target if isinstance(sample.target, tuple) else (sample.target, None)
        given = {
            "method": self.method.name,
            "value": self.value,
            "target": first,
            "against": against,
            "layer": sample.layer,
            "background": None if sample.background is None else sample.background.path,
            "out": out,
            **{name: _spelled(option) for name, option in sample.call.items()},
        }
        words = ["explain", sample.source, sample.shown, "--json"]
        words += [word for name, one in given.items() if one is not None for word in (f"--{name}", str(one))]
        words += [word for name, one in self.options.items() for word in ("--option", f"{name}={one}")]
        return words


def _spelled(option: Any) -> str:
    """A grid is 2x2 on the command line."""
    return "x".join(map(str, option)) if isinstance(option, tuple) else str(option)
