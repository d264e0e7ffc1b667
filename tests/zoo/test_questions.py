"""Questions and their answers, against what a reader of the words would answer."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from hoi_captum.errors import InputError, OptionError
from hoi_captum.zoo.questions import ANSWERS, KINDS, Questions, ask, draw_questions, encode
from hoi_captum.zoo.scenes import COLOURS, Scene, Scenes

SCENE = Scene(((4, 5), (14, 5), (5, 25), (28, 28)), ("square", "circle", "square", "circle"))


def drawn(n: int, seed: int = 0, kinds: tuple[str, ...] = KINDS) -> list:
    return draw_questions(n, torch.Generator().manual_seed(seed), kinds)


def answered(scene: Scene, text: str) -> str:
    """The answer that follows from the words and the scene's facts alone."""
    (asked,) = [i for i, colour in enumerate(COLOURS) if f" {colour} " in text]
    x, y = scene.centres[asked]
    others = {o: (u - x) ** 2 + (v - y) ** 2 for o, (u, v) in enumerate(scene.centres) if o != asked}
    found = asked
    if "closest" in text:
        found = min(others, key=others.__getitem__)
    elif "furthest" in text:
        found = max(others, key=others.__getitem__)
    if text.startswith("What colour"):
        return COLOURS[found]
    if text.startswith("What shape"):
        return scene.shapes[found]
    if "left" in text:
        return "left" if x < 16 else "right"
    if "top" in text:
        return "top" if y < 16 else "bottom"
    return str(sum(scene.shapes[o] == scene.shapes[asked] for o in others))


def test_answers_follow_from_the_words() -> None:
    questions = drawn(2_000)
    assert Counter(question.kind for _, question in questions) == dict.fromkeys(KINDS, 250)
    for scene, question in questions:
        assert question.answer == answered(scene, question.text)


def test_partner_and_runner_up() -> None:
    for scene, question in drawn(1_000, seed=1):
        x, y = scene.centres[question.asked]
        far = [(u - x) ** 2 + (v - y) ** 2 for u, v in scene.centres]
        if "est" not in question.kind:
            assert (question.partner, question.runner_up) == (None, None)
            continue
        others = sorted((o for o in range(4) if o != question.asked), key=far.__getitem__)
        if question.kind.startswith("furthest"):
            others.reverse()
        assert (question.partner, question.runner_up) == tuple(others[:2])
        decides = scene.shapes if question.answer in ("square", "circle") else COLOURS
        assert question.answer == decides[others[0]]


@pytest.mark.parametrize(
    ("kind", "colour", "text", "answer"),
    [
        ("shape", "red", "What shape is the red object?", "square"),
        ("left-right", "green", "Is the green object on the left or on the right?", "left"),
        ("top-bottom", "blue", "Is the blue object at the top or at the bottom?", "bottom"),
        ("closest", "red", "What shape is the object closest to the red one?", "circle"),
        ("furthest", "blue", "What shape is the object furthest from the blue one?", "circle"),
        ("count", "yellow", "How many other objects have the shape of the yellow one?", "1"),
        ("closest-colour", "yellow", "What colour is the object closest to the yellow one?", "blue"),
        ("furthest-colour", "red", "What colour is the object furthest from the red one?", "yellow"),
    ],
)
def test_questions_by_name(kind: str, colour: str, text: str, answer: str) -> None:
    question = ask(SCENE, kind, colour)
    assert (question.text, question.answer) == (text, answer)
    assert question.vector.tolist() == [float(c == colour) for c in COLOURS] + [
        float(k == kind) for k in KINDS
    ]
    assert torch.equal(encode(f"  {text.upper()} "), question.vector)


def test_answers_are_balanced() -> None:
    """No kind can be answered by its own statistics, and the majority shape is right three times in four."""
    questions = drawn(16_000, seed=2)
    expected = {
        "shape": ("square", "circle"),
        "left-right": ("left", "right"),
        "top-bottom": ("top", "bottom"),
        "closest": ("square", "circle"),
        "furthest": ("square", "circle"),
        "closest-colour": COLOURS,
        "furthest-colour": COLOURS,
    }
    for kind, answers in expected.items():
        counts = Counter(question.answer for _, question in questions if question.kind == kind)
        assert set(counts) == set(answers)
        assert all(abs(count / 2_000 - 1 / len(answers)) < 0.04 for count in counts.values())
    counts = Counter(question.answer for _, question in questions if question.kind == "count")
    for number, share in zip("0123", (1 / 8, 3 / 8, 3 / 8, 1 / 8), strict=True):  # three fair coins
        assert counts[number] / 2_000 == pytest.approx(share, abs=0.035)
    majority = [
        question.answer == max(("square", "circle"), key=others.count)
        for scene, question in questions
        if question.kind in ("closest", "furthest")
        for others in [[s for o, s in enumerate(scene.shapes) if o != question.asked]]
    ]
    assert sum(majority) / len(majority) == pytest.approx(0.75, abs=0.025)


def test_the_tensors_agree_with_the_single_questions() -> None:
    pairs = drawn(400, seed=3)
    scenes = Scenes.of([scene for scene, _ in pairs])
    questions = Questions(
        torch.tensor([KINDS.index(question.kind) for _, question in pairs]),
        torch.tensor([question.asked for _, question in pairs]),
    )
    assert [ANSWERS[i] for i in questions.answers(scenes).tolist()] == [q.answer for _, q in pairs]
    assert torch.equal(questions.vectors(), torch.stack([question.vector for _, question in pairs]))
    assert questions.singles(scenes) == [question for _, question in pairs]


def test_drawing() -> None:
    assert drawn(10) == drawn(10) != drawn(10, seed=1)
    assert drawn(0) == []
    assert [question.kind for _, question in drawn(4, kinds=("closest", "count"))] == ["closest", "count"] * 2
    with pytest.raises(OptionError, match="-2"):
        drawn(-2)
    with pytest.raises(OptionError, match=r"among shape, .*got \['size'\]"):
        drawn(1, kinds=("size",))


def test_unknown_words_are_told_what_can_be_asked() -> None:
    with pytest.raises(InputError, match=r"(?s)'How big\?'.*closest to the red one"):
        encode("How big?")
    with pytest.raises(InputError, match="red, green, blue, yellow"):
        encode("What shape is the purple object?")
    with pytest.raises(OptionError, match="kind one of shape"):
        ask(SCENE, "size", "red")
    with pytest.raises(OptionError, match="colour one of red"):
        ask(SCENE, "shape", "purple")
