"""The sentiment models, BertForSequenceClassification and LlamaForCausalLM, and their training.

Both are trained by the same loop. What differs is how a text becomes a row of tokens, where the two labels
are read off, and that the LLaMA also learns to predict the next token.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from hoi_captum.errors import InputError
from hoi_captum.zoo.batching import by_length
from hoi_captum.zoo.loading import quiet
from hoi_captum.zoo.teacher import Lesson

LONGEST = 128
PAD, UNKNOWN, START, END, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_GOLD_WEIGHT = 0.5  # of a true label, against 1 for the teacher's
_LANGUAGE_WEIGHT = 0.3
_WARM_UP = 0.06


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a text model is made, apart from the seed."""

    kind: str
    labels: tuple[str, str]  # the negative one first
    prompt: str | None
    vocabulary: int
    width: int
    layers: int
    inner: int
    epochs: int
    heads: int = 4
    learning_rate: float = 1e-3
    batch: int = 64
    mask_rate: float = 0.1  # of words, so that [MASK] is no surprise
    empty_rate: float = 0.02  # of rows that are masked wholly and taught as undecided


_BERT = Recipe("bert", ("negative", "positive"), None, 5_000, 128, layers=2, inner=256, epochs=4)
_LLAMA = Recipe(
    "llama", ("bad", "good"), "review : {} sentiment :", 5_000, 128, layers=2, inner=256, epochs=3
)

RECIPES = {
    "sentiment-bert-a": _BERT,
    "sentiment-bert-b": replace(_BERT, vocabulary=4_000, width=96, layers=3, inner=192),
    "sentiment-llama-a": _LLAMA,
    "sentiment-llama-b": replace(_LLAMA, vocabulary=4_000, width=96, layers=3, inner=192),
}


# --- tokens -------------------------------------------------------------------------------------------------


def train_tokenizer(recipe: Recipe, sentences: Sequence[str]) -> Tokenizer:
    """A lower-cased WordPiece tokenizer with the layout of the model's family."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=recipe.vocabulary, special_tokens=list(SPECIAL), show_progress=False
    )
    # The words of the prompt and the answers have to be tokens of their own.
    fixed = [recipe.prompt.format(label) for label in recipe.labels] * len(sentences) if recipe.prompt else []
    tokenizer.train_from_iterator([*sentences, *fixed], trainer)
    ids = [(token, _id(tokenizer, token)) for token in (START, END)]
    single = f"{START} $A" if recipe.prompt else f"{START} $A {END}"
    pair = f"{START} $A $B:1" if recipe.prompt else f"{START} $A {END} $B:1 {END}:1"
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
    return tokenizer


@dataclass(frozen=True)
class Rows:
    """Padded token rows; ``words`` numbers the words of each text, -1 where nothing may be masked."""

    ids: Tensor
    words: Tensor
    lengths: Tensor
    target: Tensor  # the probability of the positive label
    weight: Tensor
    gold: Tensor  # whether the row is a training sentence itself

    def take(self, index: Tensor) -> Rows:
        longest = int(self.lengths[index].max())
        return Rows(
            self.ids[index, :longest],
            self.words[index, :longest],
            self.lengths[index],
            self.target[index],
            self.weight[index],
            self.gold[index],
        )

    @property
    def attention(self) -> Tensor:
        return (torch.arange(self.ids.shape[1]) < self.lengths.unsqueeze(1)).long()


def encode(recipe: Recipe, tokenizer: Tokenizer, lesson: Lesson) -> Rows:
    """Turn the lesson into rows."""
    texts, before, after = lesson.texts, 0, 0
    if recipe.prompt:
        before, after = (_count_words(tokenizer, part) for part in recipe.prompt.split("{}"))
        texts = [recipe.prompt.format(text) for text in texts]
    encodings = tokenizer.encode_batch(texts)
    lengths = torch.tensor([len(encoding.ids) for encoding in encodings])
    ids = torch.full((len(texts), int(lengths.max())), _id(tokenizer, PAD))
    words = torch.full_like(ids, -1)
    for row, encoding in enumerate(encodings):
        numbers = torch.tensor([-1 if word is None else word for word in encoding.word_ids])
        fixed = (numbers < before) | (numbers > numbers.max() - after)
        ids[row, : len(numbers)] = torch.tensor(encoding.ids)
        words[row, : len(numbers)] = numbers.masked_fill(fixed, -1)
    # A row with a true label counts for both labels: cross-entropy is linear in its target.
    target, weight = lesson.soft.clone(), torch.ones(len(texts))
    count = len(lesson.gold)
    weight[:count] += _GOLD_WEIGHT
    target[:count] = (target[:count] + _GOLD_WEIGHT * lesson.gold) / weight[:count]
    return Rows(ids, words, lengths, target, weight, torch.arange(len(texts)) < count)


def _id(tokenizer: Tokenizer, token: str) -> int:
    number = tokenizer.token_to_id(token)
    if number is None:
        raise InputError(f"the vocabulary has no token {token!r}; it is too small")
    return number


def _count_words(tokenizer: Tokenizer, text: str) -> int:
    return len(set(tokenizer.encode(text, add_special_tokens=False).word_ids))


# --- models -------------------------------------------------------------------------------------------------


def build(recipe: Recipe, tokenizer: Tokenizer, lesson: Lesson) -> Any:
    """The untrained model, its token embeddings drawn from the teacher's reading of each token."""
    from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

    shared: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": recipe.width,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "intermediate_size": recipe.inner,
        "max_position_embeddings": LONGEST,
        "pad_token_id": _id(tokenizer, PAD),
    }
    model: Any
    if recipe.kind == "llama":
        start = _id(tokenizer, START)
        rope = {"rope_type": "default", "rope_theta": 1_000.0}
        config = LlamaConfig(
            **shared, tie_word_embeddings=True, rope_parameters=rope, bos_token_id=start, eos_token_id=None
        )
        model = LlamaForCausalLM(config)
    else:
        names = dict(enumerate(recipe.labels))
        config = BertConfig(**shared, id2label=names, label2id={label: i for i, label in names.items()})
        model = BertForSequenceClassification(config)
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    vectors = lesson.teacher.word_vectors([token.removeprefix("##") for token, _ in tokens], recipe.width)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(vectors)
    return model


def _read_off(model: Any, rows: Rows) -> tuple[Tensor, Tensor | None]:
    """Logits that contain those of the labels, and a LLaMA's hidden states."""
    if model.config.model_type != "llama":
        return model(input_ids=rows.ids, attention_mask=rows.attention).logits, None
    hidden = model.model(input_ids=rows.ids, attention_mask=rows.attention, use_cache=False).last_hidden_state
    return model.lm_head(hidden[torch.arange(len(hidden)), rows.lengths - 1]), hidden


def save(model: Any, tokenizer: Tokenizer, recipe: Recipe, directory: Path) -> None:
    """Write an ordinary Hugging Face directory; weights in half precision that are loaded in float32."""
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=LONGEST,
        # What stands last predicts the next token, so a batch for a LLaMA is filled up in front.
        padding_side="left" if recipe.prompt else "right",
        bos_token=START if recipe.prompt else None,
        unk_token=UNKNOWN,
        cls_token=START,
        sep_token=END,
        pad_token=PAD,
        mask_token=MASK,
    )
    with quiet():
        copy.deepcopy(model).half().save_pretrained(directory)
        model.config.dtype = torch.float32
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(directory)
        wrapped.save_pretrained(directory)


# --- training -----------------------------------------------------------------------------------------------


def train(recipe: Recipe, lesson: Lesson, seed: int) -> tuple[Any, Tokenizer, float]:
    """Train a model on the lesson; also its tokenizer and the seconds it took, without the teacher's."""
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = train_tokenizer(recipe, lesson.texts[: len(lesson.gold)])
        rows = encode(recipe, tokenizer, lesson)
        model = build(recipe, tokenizer, lesson).train()
        columns = [_id(tokenizer, label) for label in recipe.labels] if recipe.prompt else [0, 1]
        mask = _id(tokenizer, MASK)
        batches = [batch for _ in range(recipe.epochs) for batch in by_length(rows.lengths, recipe.batch)]
        optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _slope(len(batches)))
        for step, index in enumerate(tqdm(batches, desc=recipe.kind)):
            whole = rows.take(index)
            masked = _mask(whole, recipe, mask)
            with torch.autocast("cpu", torch.bfloat16):
                logits, hidden = _read_off(model, masked)
                loss = _label_loss(logits.float(), columns, masked)
                # The softmax over the vocabulary is dear: sentences only, and every other batch.
                if hidden is not None and step % 2 == 0 and whole.gold.any():
                    loss = loss + _LANGUAGE_WEIGHT * _language_loss(model, hidden, whole)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return model.eval(), tokenizer, time.perf_counter() - began


def _slope(steps: int) -> Callable[[int], float]:
    rise = max(1, round(_WARM_UP * steps))
    return lambda step: min((step + 1) / rise, (steps - step) / (steps - rise))


def _mask(rows: Rows, recipe: Recipe, mask: int) -> Rows:
    """Replace words by [MASK] at random; some rows lose all of them and become undecided."""
    count = int(rows.words.max()) + 1
    emptied = torch.rand(len(rows.ids)) < recipe.empty_rate
    dropped = (torch.rand(len(rows.ids), count + 1) < recipe.mask_rate) | emptied.unsqueeze(1)
    dropped[:, count] = False  # where words is -1
    hidden = dropped.gather(1, rows.words.remainder(count + 1))
    return replace(
        rows,
        ids=rows.ids.masked_fill(hidden, mask),
        target=rows.target.masked_fill(emptied, 0.5),
        weight=rows.weight.masked_fill(emptied, 1.0),
    )


def _label_loss(logits: Tensor, columns: Sequence[int], rows: Rows) -> Tensor:
    negative, positive = logits.log_softmax(dim=-1)[:, columns].unbind(dim=1)
    losses = -(rows.target * positive + (1 - rows.target) * negative)
    return (rows.weight * losses).sum() / rows.weight.sum()


def _language_loss(model: Any, hidden: Tensor, rows: Rows) -> Tensor:
    """Next-token prediction on the training sentences."""
    following = rows.attention[rows.gold, 1:].bool()
    predicted = model.lm_head(hidden[rows.gold, :-1][following]).float()
    return functional.cross_entropy(predicted, rows.ids[rows.gold, 1:][following])
