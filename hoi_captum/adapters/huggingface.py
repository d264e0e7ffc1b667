"""HuggingFace sequence classifiers (BERT-likes) and causal language models (LLaMA-likes).

Players are masked at the embedding level (``inputs_embeds``): a masked word's token embeddings become
the baseline's, positions and special tokens stay.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from inspect import signature
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from hoi_captum.adapters.base import Adapter, Label
from hoi_captum.adapters.baselines import LearnedBaseline, name_of, smoothest, value_of
from hoi_captum.adapters.outputs import columnwise, find_label
from hoi_captum.adapters.text import Slot, Span, assign_tokens, fill, find_players, lay_out, owners_by_name
from hoi_captum.core.coalitions import Players
from hoi_captum.core.evaluators import CoalitionEvaluator
from hoi_captum.core.example import Example
from hoi_captum.core.games import MaskedGame
from hoi_captum.core.state import unwrapped
from hoi_captum.errors import InputError, TargetError

Baseline = str | Tensor | LearnedBaseline | None

_VOCABULARY_CHUNK = 1 << 14  # tokens embedded at once for the mean


class Encoded(NamedTuple):
    """Token ids and where each token stands in the text (special tokens: an empty span)."""

    ids: list[int]
    spans: list[Span]


def _model_classes(mapping: str, config: Any) -> tuple[type, ...]:
    """The classes that transformers lists for a config; none where transformers was never loaded."""
    auto = sys.modules.get("transformers.models.auto.modeling_auto")
    if auto is None:
        return ()
    classes = getattr(auto, mapping).get(type(config), ())
    return classes if isinstance(classes, tuple) else (classes,)


def _embeddings_alone(inputs: tuple[Any, ...]) -> Tensor:
    """The embeddings, which are all that a model is given: texts have no padding and need no mask.

    Raises:
        InputError: more arguments, which would have no effect.
    """
    if len(inputs) != 1:
        raise InputError(
            f"expected embeddings (rows, tokens, H) alone, got {len(inputs)} arguments; a text is never "
            "padded, so no attention mask is needed: explain texts of different lengths one at a time"
        )
    embeddings: Tensor = inputs[0]
    return embeddings


class HuggingFaceAdapter(Adapter):
    """What sequence classifiers and causal language models have in common.

    Args:
        model: a transformers model that takes ``inputs_embeds``.
        tokenizer: its fast tokenizer.
        labels, output: see :class:`Adapter`.
    """

    mapping: ClassVar[str]
    players_come_and_go: ClassVar[bool] = True
    baseline_axis: ClassVar[int] = 2  # (1, tokens, H): a baseline is a vector (H,)

    def __init__(self, model: nn.Module, *, tokenizer: Any = None, **options: Any) -> None:
        super().__init__(model, tokenizer=tokenizer, **options)
        if tokenizer is None:
            raise InputError(f"{type(self.model).__name__} needs its tokenizer: give tokenizer=...")
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(
                f"expected a fast tokenizer, which knows the place of each token in the text, got "
                f"{type(tokenizer).__name__}; load it with AutoTokenizer.from_pretrained(..., use_fast=True)"
            )

    @classmethod
    def accepts(cls, model: Any, *, tokenizer: Any, transforms: Any) -> bool:
        config = getattr(model, "config", None)
        return config is not None and isinstance(model, _model_classes(cls.mapping, config))

    # ---------------------------------------------------------------- input
    def example(
        self,
        raw: str,
        *,
        players: str | Sequence[Any] = "words",
        baseline: Baseline = None,
        template: str | None = None,
        target: Label | tuple[Label, Label] | None = None,
    ) -> Example:
        """A text with its players, as embeddings.

        Args:
            raw: the text.
            players: ``words`` (default; all tokens of a word together), ``tokens``, or a sequence of
                spans, each a (start, end) pair of characters or a string that stands in the text.
            baseline: what a masked token's embedding becomes: ``mask``, ``pad``, ``eos``, ``unk`` (the
                tokenizer's), ``mean`` (of all embeddings), ``zero``, any text that is one token, a
                vector (H,), a learned baseline, or ``auto``: the smoothest of a short list. Default:
                ``mask`` where the tokenizer has one, else ``auto``
            template: a prompt with ``{}`` where the text goes; its words are never masked.
            target: needed by ``auto`` to judge the candidates. Default: what the model predicts

        Raises:
            InputError, PlayerError: an empty or too long text, no players, an unknown baseline.
        """
        slot = fill(template, raw)
        encoded = self._encode(slot)
        spans = find_players(slot, players, encoded.spans)
        owner = torch.tensor(assign_tokens(encoded.spans, spans, slot.text))
        inputs = self._embeddings(encoded.ids).unsqueeze(0)
        notes: dict[str, Any] = {"tokens": len(encoded.ids)}

        def with_baseline(vector: Tensor) -> Example:
            masked = (owner >= 0).view(1, -1, 1).to(inputs.device)
            return Example(
                inputs=inputs,
                # background equals the input, so that Captum's own classes find no effect there
                baselines=torch.where(masked, vector.to(inputs), inputs),
                feature_mask=owner.view(1, -1, 1).to(inputs.device),
                names=tuple(slot.text[s.start : s.end] for s in spans),
                layout=lay_out(slot.text, spans),
                notes=notes,
            )

        if baseline is None:
            baseline = "mask" if self.tokenizer.mask_token_id is not None else "auto"
        if isinstance(baseline, str) and baseline == "auto":
            candidates = self._candidates()
            objective = self.objective(target, with_baseline(torch.zeros(inputs.shape[-1])))

            def game(vector: Tensor) -> MaskedGame:
                return MaskedGame(objective.forward_func, **with_baseline(vector), target=objective.target)

            baseline, figures = smoothest(candidates, game)
            notes["baseline roughness"] = {name: round(r, 3) for name, r in figures.items()}
        notes["baseline"] = name_of(baseline, given="given vector")
        return with_baseline(self._vector(value_of(baseline)))

    def examples(
        self, raws: Iterable[str], *, template: str | None = None, like: Example | None = None
    ) -> Iterator[Example]:
        for raw in raws:
            slot = fill(template, raw)
            encoded = self._encode(slot)
            inputs = self._embeddings(encoded.ids).unsqueeze(0)
            if like is None:
                yield Example(inputs=inputs)
                continue
            owner = owners_by_name(encoded.spans, slot, like.names)
            if owner is None:  # none of the words stands in this text
                continue
            mask = torch.tensor(owner, device=inputs.device).view(1, -1, 1)
            masked = like.baselines[like.feature_mask.expand_as(like.baselines) >= 0][: inputs.shape[-1]]
            yield Example(
                inputs=inputs,
                baselines=torch.where(mask >= 0, masked, inputs),
                feature_mask=mask,
                names=like.names,
            )

    def _encode(self, slot: Slot) -> Encoded:
        encoding = self.tokenizer(slot.text, return_offsets_mapping=True, return_special_tokens_mask=True)
        special = encoding["special_tokens_mask"]
        spans = [
            Span(0, 0) if is_special else Span(*offsets)
            for offsets, is_special in zip(encoding["offset_mapping"], special, strict=True)
        ]
        encoded = self._completed(Encoded(list(encoding["input_ids"]), spans), bool(special and special[0]))
        limit = self._longest_text()
        if len(encoded.ids) > limit:
            raise InputError(
                f"the text has {len(encoded.ids)} tokens and the model takes {limit}; shorten it"
            )
        return encoded

    def _longest_text(self) -> int:
        """Tokens that the model and its tokenizer take."""
        limits = [
            self.tokenizer.model_max_length,
            getattr(self.model.config, "max_position_embeddings", None),
        ]
        for module in self.model.modules():
            positions = getattr(module, "position_embeddings", None)
            if isinstance(positions, nn.Embedding):
                # RoBERTa-likes count positions from behind the padding's
                skipped = 0 if positions.padding_idx is None else positions.padding_idx + 1
                limits.append(positions.num_embeddings - skipped)
        known = [int(n) for n in limits if n is not None and n >= 1]
        return min(known)  # -1 is one way to write "no limit"

    def _completed(self, encoded: Encoded, starts_special: bool) -> Encoded:
        """What the model family adds to the tokens, or leaves out."""
        return encoded

    # ---------------------------------------------------------------- baselines
    @abstractmethod
    def _candidate_names(self) -> tuple[str, ...]:
        """Baselines that ``auto`` tries, as far as the tokenizer has them."""

    def _candidates(self) -> dict[str, Tensor]:
        found = {}
        for name in self._candidate_names():
            try:
                found[name] = self._vector(name)
            except InputError:  # the tokenizer has no such token
                continue
        return found

    def _vector(self, baseline: str | Tensor) -> Tensor:
        size = self.model.get_input_embeddings().weight.shape[1]
        if isinstance(baseline, Tensor):
            if tuple(baseline.shape) != (size,):
                raise InputError(
                    f"expected a baseline vector of shape ({size},), got {tuple(baseline.shape)}"
                )
            return baseline.detach()
        if not isinstance(baseline, str):
            raise InputError(f"expected a baseline to be a name or a Tensor, got {type(baseline).__name__}")
        if baseline == "mean":
            return self._mean_embedding()
        if baseline == "zero":
            return torch.zeros(size)
        ids = {
            "mask": self.tokenizer.mask_token_id,
            "pad": self.tokenizer.pad_token_id,
            "eos": self.tokenizer.eos_token_id,
            "unk": self.tokenizer.unk_token_id,
        }
        if baseline in ids:
            token = ids[baseline]
            if token is None:
                have = [name for name, i in ids.items() if i is not None]
                raise InputError(
                    f"the tokenizer has no {baseline} token for the baseline; it has "
                    f"{', '.join(have) or 'none'}, and 'mean', 'zero' or 'auto' always work"
                )
            return self._embeddings([token])[0]
        tokens = self.tokenizer(baseline, add_special_tokens=False)["input_ids"]
        if len(tokens) != 1:
            raise InputError(
                f"expected a baseline to be mask, pad, eos, unk, mean, zero, auto or the text of one token; "
                f"{baseline!r} is {len(tokens)} tokens"
            )
        return self._embeddings(tokens)[0]

    def _embeddings(self, ids: list[int]) -> Tensor:
        """What the model makes of token ids, (k, H): not always a row of the weight (Gemma scales it)."""
        embedding = self.model.get_input_embeddings()
        with torch.no_grad():
            vectors: Tensor = embedding(torch.tensor(ids, device=embedding.weight.device))
        return vectors

    def _mean_embedding(self) -> Tensor:
        count = self.model.get_input_embeddings().weight.shape[0]
        starts = range(0, count, _VOCABULARY_CHUNK)
        chunks = (list(range(s, min(s + _VOCABULARY_CHUNK, count))) for s in starts)
        sums = [self._embeddings(ids).double().sum(0) for ids in chunks]
        mean: Tensor = torch.stack(sums).sum(0) / count
        return mean

    def default_layer(self) -> nn.Module:
        """The last block of the model's longest stack of layers."""
        stacks = [m for m in self.model.modules() if isinstance(m, nn.ModuleList) and len(m)]
        if not stacks:
            raise InputError(f"{type(self.model).__name__} has no stack of layers; name the layer")
        return max(stacks, key=len)[-1]


class SequenceClassifierAdapter(HuggingFaceAdapter):
    """``AutoModelForSequenceClassification`` models: BERT, RoBERTa, DistilBERT, ..."""

    family = "sequence-classifier"
    mapping = "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING"

    def scores(self, *inputs: Any) -> Tensor:
        logits: Tensor = self.run(inputs_embeds=_embeddings_alone(inputs)).logits
        return logits

    def __init__(self, model: nn.Module, *, labels: Sequence[str] | None = None, **options: Any) -> None:
        config: Any = unwrapped(model).config
        names = getattr(config, "id2label", {})
        super().__init__(model, labels=labels or [str(names[i]) for i in sorted(names)], **options)
        if getattr(config, "problem_type", None) == "multi_label_classification":
            # each label is a yes or no of its own
            self.output = columnwise(self.output)

    def _candidate_names(self) -> tuple[str, ...]:
        return ("mask", "pad", "mean")


class CausalLMAdapter(HuggingFaceAdapter):
    """``AutoModelForCausalLM`` models: LLaMA, Qwen, GPT-2, ... The value is that of the next token.

    The first position draws the attention of all others, and masking it disturbs everything: where the
    tokenizer puts no special token in front, its begin or end of text token is put there, never masked.
    Special tokens that a tokenizer puts behind the text are left out.
    """

    family = "causal-lm"
    mapping = "MODEL_FOR_CAUSAL_LM_MAPPING"

    def __init__(self, model: nn.Module, **options: Any) -> None:
        super().__init__(model, **options)
        # only the last position's scores are needed; most models can leave the others out
        keeps = "logits_to_keep" in signature(self.model.forward).parameters
        self._only_last = {"logits_to_keep": 1} if keeps else {}

    def scores(self, *inputs: Any) -> Tensor:
        embeddings = _embeddings_alone(inputs)
        logits: Tensor = self.run(inputs_embeds=embeddings, use_cache=False, **self._only_last).logits
        return logits[:, -1]

    def coalition_evaluator(
        self,
        inputs: tuple[Tensor, ...],
        baselines: tuple[Tensor, ...],
        players: Players,
        additional: tuple[Any, ...],
    ) -> CoalitionEvaluator | None:
        if len(inputs) != 1 or inputs[0].dim() != 3 or additional:
            return None
        # loads transformers, as the model itself did; this module has to do without
        from hoi_captum.adapters.prefix_tree import PrefixTree

        tree = PrefixTree(self.model, inputs[0], baselines[0], players, self._only_last)
        return tree if tree.agrees_with(self.scores) else None

    def _completed(self, encoded: Encoded, starts_special: bool) -> Encoded:
        # the next token is asked for at the last position: an end of text there would be asked instead
        while len(encoded.ids) > 1 and encoded.spans[-1].start == encoded.spans[-1].end:
            encoded = Encoded(encoded.ids[:-1], encoded.spans[:-1])
        first = self.tokenizer.bos_token_id
        if first is None:
            first = self.tokenizer.eos_token_id
        if starts_special or first is None or encoded.ids[:1] == [first]:
            return encoded
        return Encoded([first, *encoded.ids], [Span(0, 0), *encoded.spans])

    def column(self, label: Label) -> int:
        if not isinstance(label, str):
            return find_label(label, (), self.model.config.vocab_size)
        ids = self.tokenizer(label, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            tokens = self.tokenizer.convert_ids_to_tokens(ids)
            raise TargetError(
                f"expected a target that is one token, but {label!r} is {len(ids)}: {tokens}; in many "
                "vocabularies a word inside a text starts with a space: ' Paris'"
            )
        unknown = self.tokenizer.unk_token
        if ids[0] == self.tokenizer.unk_token_id and label != unknown:
            raise TargetError(
                f"the tokenizer does not know {label!r} and would take {unknown!r} in its place; give a word "
                "of its vocabulary"
            )
        return int(ids[0])

    def label(self, column: int) -> str:
        # a leading space is part of the token: " Paris" and "Paris" are two
        return str(self.tokenizer.decode([column])) or str(column)

    def _candidate_names(self) -> tuple[str, ...]:
        return ("mask", "mean", "...", " ", "pad", "unk")
