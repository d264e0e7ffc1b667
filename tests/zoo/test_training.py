"""The training code, on amounts of data that take seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hoi_captum.errors import FileError
from hoi_captum.zoo import digits, reviews, teacher, text, train
from hoi_captum.zoo.loading import load_directory

TEXT = "a film of quiet charm and real wit whose dull plot never matters much to its clever cast"
WORDS = TEXT.split()


class NoTeacher:
    """Word vectors without a language model."""

    def word_vectors(self, words: list[str], size: int) -> Tensor:
        return 0.05 * torch.randn(len(words), size)


def lesson() -> teacher.Lesson:
    """Sentences that are positive when they hold "wit" more often than "dull"."""
    generator = torch.Generator().manual_seed(0)
    picks = torch.randint(len(WORDS), (256, 6), generator=generator).tolist()
    texts = [" ".join(["wit" if i % 2 else "dull", *(WORDS[j] for j in row)]) for i, row in enumerate(picks)]
    gold = torch.tensor([float(t.split().count("wit") > t.split().count("dull")) for t in texts])
    return teacher.Lesson(texts, gold[:128], gold, NoTeacher(), 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["sentiment-bert-a", "sentiment-llama-a"])
def test_text_training_learns_and_writes_a_hugging_face_directory(name: str, tmp_path: Path) -> None:
    recipe = replace(text.RECIPES[name], vocabulary=200, width=32, layers=1, inner=32, epochs=12)
    recipe = replace(recipe, batch=16, learning_rate=4e-3, empty_rate=0.1)
    material = lesson()
    state = torch.get_rng_state()
    model, tokenizer, _ = text.train(recipe, material, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    text.save(model, tokenizer, recipe, tmp_path)

    loaded, processor = load_directory(tmp_path, recipe.kind)
    samples = [(t, recipe.labels[int(g)]) for t, g in zip(material.texts[:64], material.gold, strict=False)]
    figures = train.measure.figures(loaded, processor, samples, recipe.labels, recipe.prompt)
    assert figures.accuracy > 0.9
    assert figures.effect_empty < 0.3 * figures.effect_full


def test_masking_spares_special_tokens_and_the_prompt() -> None:
    recipe = replace(text.RECIPES["sentiment-llama-a"], vocabulary=200, mask_rate=1.0, empty_rate=0.0)
    material = lesson()
    tokenizer = text.train_tokenizer(recipe, material.texts)
    rows = text.encode(recipe, tokenizer, material)
    masked = text._mask(rows, recipe, tokenizer.token_to_id(text.MASK))
    tokens = [tokenizer.id_to_token(i) for i in masked.ids[0, : rows.lengths[0]].tolist()]
    assert tokens[:3] == ["[CLS]", "review", ":"]
    assert tokens[-2:] == ["sentiment", ":"]
    assert set(tokens[3:-2]) == {"[MASK]"}


def test_wholly_masked_rows_are_undecided() -> None:
    recipe = replace(text.RECIPES["sentiment-bert-a"], vocabulary=200, mask_rate=0.0, empty_rate=0.5)
    tokenizer = text.train_tokenizer(recipe, lesson().texts)
    rows = text.encode(recipe, tokenizer, lesson())
    masked = text._mask(rows, recipe, tokenizer.token_to_id(text.MASK))
    changed = (masked.ids != rows.ids).any(dim=1)
    assert 0.3 < changed.float().mean() < 0.7
    assert (masked.target[changed] == 0.5).all()
    assert torch.equal(masked.target[~changed], rows.target[~changed])


def test_digit_training_lowers_the_loss_and_loads_again(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(200) % 10
    patterns = torch.rand(10, 1, 28, 28, generator=generator)
    images = (patterns[classes] + 0.1 * torch.rand(200, 1, 28, 28, generator=generator)).clamp(0, 1)
    losses: list[float] = []
    recipe = replace(digits.RECIPES["digits-vgg"], epochs=4)
    model, _ = digits.train(recipe, digits.Digits(images, classes), seed=0, on_step=losses.append)
    assert sum(losses[-4:]) < sum(losses[:4])
    digits.save_model(model, recipe.config, tmp_path)
    loaded, processor = load_directory(tmp_path, recipe.kind)
    assert isinstance(processor, digits.DigitTransforms)
    torch.testing.assert_close(loaded(images), model(images), atol=0.05, rtol=0.05)


def test_split_is_disjoint_and_fixed() -> None:
    rows = [reviews.Review(float(i % 3 - 1), f"Sentence {i % 9_900}") for i in range(10_605)]
    training, held_out = reviews.split(rows)
    assert len(held_out) == 1_005
    assert not {r.text for r in training} & {r.text for r in held_out}
    assert reviews.split(rows)[1] == held_out


def test_variations_are_made_of_training_words_and_repeatable() -> None:
    sentences = ["one two three four five six seven", "eight nine ten"]
    texts = reviews.variations(sentences, seed=3, spans=20, mixtures=20)
    assert texts == reviews.variations(sentences, seed=3, spans=20, mixtures=20)
    assert len(texts) == 40
    assert {word for t in texts for word in t.split()} <= set(" ".join(sentences).split())


def test_reviews_round_trip_and_refuse_other_tables(tmp_path: Path) -> None:
    file = tmp_path / "table.tsv"
    rows = [reviews.Review(1.25, "Good – really"), reviews.Review(-0.5, "Not so")]
    reviews.write(rows, file)
    assert reviews.read(file) == rows
    file.write_text("score\ttext\n1.0 no tab\n", "utf-8")
    with pytest.raises(FileError, match="a number, a tab and a text"):
        reviews.read(file)
    file.write_text("text\tscore\n", "utf-8")
    with pytest.raises(FileError, match="header"):
        reviews.read(file)


def test_the_command_keeps_an_existing_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    assert train.main(["digits-vgg", "--out", str(kept)]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_a_failed_run_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "bad.tsv"
    data.write_text("nothing\n", "utf-8")
    out = tmp_path / "models" / "a"
    assert train.main(["sentiment-bert-a", "--out", str(out), "--data", str(data)]) == 1
    assert "header" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []
