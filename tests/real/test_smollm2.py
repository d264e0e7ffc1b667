"""What SmolLM2 needs to say a fact, against plain calls of transformers."""

from __future__ import annotations

from itertools import combinations, product

import pytest
import torch
from torch import Tensor

import hoi_captum as hoi
from hoi_captum.adapters.base import Adapter
from hoi_captum.core.games import MaskedGame

pytestmark = pytest.mark.real

TEXT = "The capital of France is"
WORDS = ("The", "capital", "of", "France", "is")  # each is one token
THE, CAPITAL, OF, FRANCE, IS = range(5)
FACT = (CAPITAL, OF, FRANCE, IS)
DOTS = "..."  # what absent words become
COALITIONS = torch.tensor(list(product((False, True), repeat=5)))


class Plain:
    """The model called as transformers' documentation has it, words switched off by hand."""

    def __init__(self, adapter: Adapter) -> None:
        self.model, self.tokenizer = adapter.model, adapter.tokenizer

    def ids(self, text: str) -> list[int]:
        return [self.tokenizer.bos_token_id, *self.tokenizer(text)["input_ids"]]

    def token(self, text: str) -> int:
        (token,) = self.tokenizer(text)["input_ids"]
        return int(token)

    def scores(
        self, text: str, present: Tensor | None = None, absent: str = DOTS, **options: Tensor
    ) -> Tensor:
        """Logits of the next token, a row for each coalition of the text's tokens."""
        ids = torch.tensor([self.ids(text)])
        if present is not None:
            kept = torch.cat((torch.ones(len(present), 1, dtype=torch.bool), present), 1)
            ids = torch.where(kept, ids, self.token(absent))
        with torch.no_grad():
            logits: Tensor = self.model(ids, **options).logits[:, -1]
        return logits


@pytest.fixture(scope="module")
def plain(smollm2: Adapter) -> Plain:
    return Plain(smollm2)


@pytest.fixture(scope="module")
def probability(smollm2: Adapter) -> Adapter:
    """The same model, explained in probabilities."""
    return hoi.adapt(smollm2.model, tokenizer=smollm2.tokenizer, output="prob")


def log_odds(logits: Tensor, column: int) -> Tensor:
    return logits.softmax(-1)[..., column].double().logit()


def rebuilt(table: hoi.Interactions, present: Tensor) -> Tensor:
    """The value of each coalition as the sum of the effects that it has."""
    total = torch.full((len(present),), float(table.base), dtype=torch.float64)
    for term in table:
        members = present[:, list(term.members)]
        total += term.score * (members.all(1) if term.kind == "and" else members.any(1))
    return total


def test_paris_is_what_the_model_says(smollm2: Adapter, plain: Plain) -> None:
    probabilities = plain.scores(TEXT)[0].softmax(-1)
    paris = plain.token(" Paris")
    assert probabilities.argmax() == paris
    assert probabilities[paris] == pytest.approx(0.749, abs=0.005)
    assert probabilities.topk(2).values[1] < 0.05
    assert smollm2.predict(smollm2.example(TEXT, baseline=DOTS)) == paris


def test_a_chat_is_a_template(smollm2: Adapter, plain: Plain) -> None:
    question = "What is the capital of France?"
    messages = [{"role": "user", "content": "{}"}]
    chat = smollm2.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    chat += "The capital of France is"
    example = smollm2.example(question, template=chat, players=["capital", "France"], baseline=DOTS)
    ids = smollm2.tokenizer(chat.format(question))["input_ids"]
    assert ids.count(smollm2.tokenizer.bos_token_id) == 3  # of three turns; none is put in front
    torch.testing.assert_close(example.inputs[0], smollm2.model.get_input_embeddings().weight[ids].detach())
    with torch.no_grad():
        probabilities = smollm2.model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    assert probabilities[plain.token(" Paris")] == pytest.approx(0.951, abs=0.005)
    assert (example.feature_mask >= 0).sum() == 2  # the answer's words are the prompt's


def test_coalitions_along_the_tree(smollm2: Adapter, plain: Plain) -> None:
    paris = plain.token(" Paris")
    objective = smollm2.objective(" Paris", smollm2.example(TEXT, baseline=DOTS))
    game = MaskedGame(objective.forward_func, **smollm2.example(TEXT, baseline=DOTS), target=objective.target)
    expected = log_odds(plain.scores(TEXT, COALITIONS), paris)
    torch.testing.assert_close(game.table()[0].double(), expected, rtol=0, atol=2e-3)
    assert expected.std() > 2
    # the first token once; then each word doubles the branches
    assert game.work == {"token steps": 1 + 2 + 4 + 8 + 16 + 32, "token steps row by row": 32 * 6}


@pytest.mark.parametrize(
    ("country", "city", "share"),
    [("France", " Paris", 0.9), ("Italy", " Rome", 0.85), ("Japan", " Tokyo", 0.9)],
)
def test_a_fact_is_one_and_of_four_words(
    probability: Adapter, plain: Plain, country: str, city: str, share: float
) -> None:
    text = TEXT.replace("France", country)
    values = plain.scores(text, COALITIONS).softmax(-1)[:, plain.token(city)].double()
    table = hoi.explain(probability, text, target=city, baseline=DOTS).interactions
    effect = float(values[-1] - values[0])
    assert float(table.scores.sum()) == pytest.approx(effect, abs=1e-4)
    assert (rebuilt(table, COALITIONS) - values).abs().max() <= 0.021 * effect
    first, second = table.top(2)
    assert (first.members, first.kind) == (FACT, "and")
    assert first.score > share * effect
    assert abs(second.score) < 0.05 * effect
    # switched off by hand: none of the four may be missing, "The" may
    one_off = dict(zip(WORDS, plain.scores(text, ~torch.eye(5, dtype=torch.bool)).softmax(-1), strict=True))
    left = {word: float(p[plain.token(city)]) for word, p in one_off.items()}
    assert left.pop("The") > 0.5 * effect
    assert max(left.values()) < 0.1 * effect


@pytest.mark.parametrize("absent", [DOTS, " ", "the", "<|endoftext|>"])
def test_the_and_does_not_hang_on_what_absent_words_become(plain: Plain, absent: str) -> None:
    """Of the fact's four words all sets but the whole leave little of it."""
    present = COALITIONS[COALITIONS[:, THE]]
    values = plain.scores(TEXT, present, absent).softmax(-1)[:, plain.token(" Paris")]
    assert values[-1] > 0.7
    assert values[:-1].max() < 0.25 * values[-1]


def test_in_log_odds_each_of_two_words_is_evidence(smollm2: Adapter, plain: Plain) -> None:
    """What a probability hides: it is near 0 until the evidence suffices."""
    paris = plain.token(" Paris")
    values = log_odds(plain.scores(TEXT, COALITIONS), paris)
    explanation = hoi.explain(smollm2, TEXT, target=" Paris", baseline=DOTS)
    table = explanation.interactions
    assert float(table.scores.sum()) == pytest.approx(float(values[-1] - values[0]), abs=1e-2)
    effects = {(term.members, term.kind): term.score for term in table}
    assert table.top(1)[0].members == FACT
    assert effects[FACT, "and"] > 2
    assert effects[(FRANCE,), "and"] > 1.5
    assert effects[(CAPITAL,), "and"] > 1
    # exact Shapley values, by the formula
    attributions = explanation.attributions[0, 1:, 0].double()
    torch.testing.assert_close(attributions, shapley(values), rtol=0, atol=1e-2)
    assert attributions.argmax() == FRANCE


def shapley(values: Tensor) -> Tensor:
    """Of five players, rows of the table counted in binary with the first as the highest bit."""
    found = torch.zeros(5, dtype=torch.float64)
    for player in range(5):
        others = [2 ** (4 - j) for j in range(5) if j != player]
        for size in range(5):
            weight = 1 / (5 * len(list(combinations(range(4), size))))
            for rows in combinations(others, size):
                found[player] += weight * (values[sum(rows) + 2 ** (4 - player)] - values[sum(rows)])
    return found


def test_a_contrast_of_two_cities(smollm2: Adapter, plain: Plain) -> None:
    words = ["capital", "France"]
    explanation = hoi.explain(smollm2, TEXT, target=(" Paris", " London"), players=words, baseline=DOTS)
    present = torch.ones(4, 5, dtype=torch.bool)
    present[:, [CAPITAL, FRANCE]] = torch.tensor(list(product((False, True), repeat=2)))
    logits = plain.scores(TEXT, present)
    nobody, capital, france, both = (
        logits[:, plain.token(" Paris")] - logits[:, plain.token(" London")]
    ).tolist()
    table = explanation.interactions
    assert table.provenance.target == " Paris -  London"
    effects = {(term.members, term.kind): term.score for term in table}
    together = effects.get(((0, 1), "and"), 0.0) - effects.get(((0, 1), "or"), 0.0)
    tolerance = 4 * 0.02 * abs(both - nobody)  # of four values, each with the error that is allowed
    assert together == pytest.approx(both - capital - france + nobody, abs=tolerance)
    assert float(table.scores.sum()) == pytest.approx(both - nobody, abs=1e-3)
    assert together > 1.5  # nats: without "capital" France alone does not speak for Paris half as much


@pytest.fixture(scope="module")
def by_gates(plain: Plain) -> Tensor:
    """Second derivatives of the log-odds by gates on what is attended to, from central differences."""
    pairs = list(combinations(range(5), 2))
    steps = [(i, j, a, b, h) for i, j in pairs for h in (0.1, 0.2) for a, b in product((1, -1), repeat=2)]
    gates = torch.ones(len(steps), 6)
    for row, (i, j, a, b, h) in enumerate(steps):
        gates[row, i + 1] += a * h
        gates[row, j + 1] += b * h
    # log gate on the scores of a key, for all queries but its own; at the last token on its own
    keys = gates.log().unsqueeze(1)
    bias = keys.expand(-1, 6, -1).masked_fill(torch.eye(6, dtype=torch.bool), 0.0)
    bias[:, 5, 5] = keys[:, 0, 5]
    bias = bias.masked_fill(torch.ones(6, 6, dtype=torch.bool).triu(1), -torch.inf).unsqueeze(1)
    present = torch.ones(len(steps), 5, dtype=torch.bool)
    values = log_odds(plain.scores(TEXT, present, attention_mask=bias), plain.token(" Paris"))
    signs = torch.tensor([a * b / (4 * h * h) for _, _, a, b, h in steps])
    short, long = (values * signs).view(len(pairs), 2, 4).sum(-1).unbind(1)
    found = torch.zeros(5, 5, dtype=torch.float64)
    found[tuple(torch.tensor(pairs).T)] = (4 * short - long) / 3
    return found


def test_cross_derivatives(smollm2: Adapter, by_gates: Tensor) -> None:
    table = hoi.explain(smollm2, TEXT, "taylor-cam", target=" Paris", baseline=DOTS, synergy=0).interactions
    assert table.provenance.details["how"] == "exact by gates on attention"
    found = torch.zeros_like(by_gates)
    for term in table:
        found[term.members] = term.score
    torch.testing.assert_close(found, by_gates, rtol=0, atol=0.03)
    assert table.top(1)[0].members == (CAPITAL, FRANCE)
    assert by_gates.abs().argmax() == CAPITAL * 5 + FRANCE


def test_a_second_glance(smollm2: Adapter, by_gates: Tensor) -> None:
    table = hoi.explain(
        smollm2, TEXT, "second-glance", target=" Paris", baseline=DOTS, n_samples=64
    ).interactions
    first = table.top(1)[0]
    assert first.members == (CAPITAL, FRANCE)
    # of gates drawn around the input, not at it
    assert first.score == pytest.approx(float(by_gates[CAPITAL, FRANCE]), rel=0.5)
    assert first.score > 4 * table.stderr[first.members]
    assert table.provenance.details["r2"] > 0.6
