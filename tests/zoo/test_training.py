"""The training code, on amounts of data that take seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hoi_captum.errors import FileError
from hoi_captum.zoo import digits, relations_training, reviews, storage, teacher, text, train
from hoi_captum.zoo.loading import load_directory
from hoi_captum.zoo.questions import ANSWERS, KINDS, Questions, draw_questions
from hoi_captum.zoo.scenes import Scenes, draw_scenes

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
    storage.save(model, recipe.config, tmp_path)
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


SMALL = relations_training.Recipe(
    channels=8,
    products=8,
    entity_hidden=16,
    entity_size=8,
    hidden=8,
    steps=200,
    scenes=16,
    learning_rate=6e-3,
)


def test_relation_training_learns_what_can_be_answered(tmp_path: Path) -> None:
    recipe = replace(SMALL, simple_share=1.0)
    lines: list[str] = []
    state = torch.get_rng_state()
    model, _ = relations_training.train(recipe, seed=0, report=lines.append)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    (line,) = lines
    assert line.startswith("step 200, ")
    assert "closest nan" in line  # nothing but simple questions
    simple = draw_questions(600, torch.Generator().manual_seed(1), ("shape", "left-right", "top-bottom"))
    images, vectors = zip(*((scene.image, question.vector) for scene, question in simple), strict=True)
    with torch.no_grad():
        logits = model(torch.stack(images), torch.stack(vectors))
    right = [ANSWERS[i] == q.answer for i, (_, q) in zip(logits.argmax(1).tolist(), simple, strict=True)]
    assert (
        sum(right) / 600 > 0.4
    )  # of 14 answers two are possible; which of them it would take minutes to learn

    storage.save(model, recipe.config, tmp_path)
    loaded, _ = load_directory(tmp_path, recipe.kind)
    assert not loaded.training
    for name, stored in loaded.state_dict().items():
        torch.testing.assert_close(stored, model.state_dict()[name], rtol=1e-3, atol=1e-4)
        assert stored.dtype != torch.float16


def test_relation_training_is_repeatable() -> None:
    recipe = replace(SMALL, steps=3)
    one, again, other = (relations_training.train(recipe, seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert not torch.equal(one["cells.0.weight"], other["cells.0.weight"])


def test_the_detector_is_right_about_what_it_is_shown() -> None:
    """Its loss vanishes for a map that says the truth in the channels that it reads."""
    detector = relations_training.Detector(7)
    with torch.no_grad():
        detector.read.weight.copy_(torch.eye(7)[:, :, None, None])
        detector.read.bias.zero_()
    scenes = draw_scenes(50, torch.Generator().manual_seed(0))
    truth = torch.zeros(50, 7, 4, 4)
    truth[:, :4] = -30.0
    for row, scene in enumerate(scenes.singles()):
        for i, ((x, y), shape) in enumerate(zip(scene.centres, scene.shapes, strict=True)):
            there = truth[row, :, y // 8, x // 8]
            there[i] = 30.0
            there[4] = 30.0 if shape == "circle" else -30.0
            there[5], there[6] = ((place % 8 - 3.5) / 3.5 for place in (x, y))
    assert detector.loss(truth, scenes) < 1e-6
    assert detector.loss(truth.flip(3), scenes) > 1


def test_the_ruler_measures_from_the_object_asked_about() -> None:
    ruler = relations_training.Ruler(4)
    with torch.no_grad():
        ruler.read.weight.copy_(torch.eye(4))
        ruler.read.bias.zero_()
    rows = draw_questions(80, torch.Generator().manual_seed(0))
    scenes = Scenes.of([scene for scene, _ in rows])
    kinds = torch.tensor([KINDS.index(question.kind) for _, question in rows])
    questions = Questions(kinds, torch.tensor([question.asked for _, question in rows]))
    truth = torch.zeros(80, 4)
    for row, (scene, question) in enumerate(rows):
        x, y = scene.centres[question.asked]
        if "est" in question.kind:  # others do not count
            truth[row] = torch.tensor([((u - x) ** 2 + (v - y) ** 2) ** 0.5 / 10 for u, v in scene.centres])
    assert ruler.loss(truth, scenes, questions) < 1e-10
    assert ruler.loss(truth + 1, scenes, questions).item() == pytest.approx(1, abs=1e-5)


def test_only_the_kinds_that_are_due_are_asked() -> None:
    recipe = relations_training.RECIPES["sort-of-clevr"]
    generator = torch.Generator().manual_seed(0)
    first = relations_training._draw(recipe, 0, generator)
    assert {KINDS[i] for i in first.kinds.tolist()} == {"shape", "left-right", "top-bottom"}
    later = replace(recipe, scenes=8_000)
    counts = torch.bincount(relations_training._draw(later, recipe.steps - 1, generator).kinds) / 16_000
    expected = torch.tensor([3.0 if "est" in kind else 1.0 for kind in KINDS])
    torch.testing.assert_close(counts, expected / expected.sum(), atol=0.015, rtol=0)
