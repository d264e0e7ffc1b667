"""Language models: embeddings instead of ids, players in texts, baselines, targets."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from hoi_captum import adapt, text_example, zoo
from hoi_captum.adapters.huggingface import CausalLMAdapter, SequenceClassifierAdapter
from hoi_captum.adapters.outputs import log_odds
from hoi_captum.adapters.pretrained import load_pretrained
from hoi_captum.core.coalitions import all_coalitions
from hoi_captum.core.games import MaskedGame
from hoi_captum.core.state import evaluation_mode
from hoi_captum.errors import InputError, PlayerError, TargetError

TEXT = "not a bad film, unwatchable but well-made"


def same(a: Tensor, b: Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(a.detach(), b.detach(), rtol=tolerance, atol=tolerance * 10)


# ------------------------------------------------------------------------------ the same numbers as from ids


@pytest.mark.parametrize("name", ["sentiment-bert-a", "sentiment-bert-b"])
def test_a_classifier_gives_the_log_odds_of_its_logits(name):
    model, tokenizer = zoo.load(name)
    adapter = adapt(model, tokenizer=tokenizer)
    ids = tokenizer(TEXT, return_tensors="pt")
    same(adapter.forward_func(adapter.example(TEXT).inputs), log_odds(model(**ids).logits))
    same(adapter.scores(adapter.example(TEXT).inputs), model(**ids).logits)


def test_masking_with_mask_is_writing_mask_tokens_instead_of_words(bert):
    model, tokenizer = bert
    adapter = adapt(model, tokenizer=tokenizer)
    text = "unwatchable, but not bad"
    example = adapter.example(text)
    assert example.names == ("unwatchable", "but", "not", "bad")
    table = MaskedGame(adapter.forward_func, **example, target=1).table()[0]
    encoding = tokenizer(text)
    words = dict(zip(("unw", "##atch", "##able", "but", "not", "bad"), (0, 0, 0, 1, 2, 3), strict=True))
    owner = [words.get(t, -1) for t in tokenizer.convert_ids_to_tokens(encoding["input_ids"])]
    rows = [
        [
            tokenizer.mask_token_id if player >= 0 and not coalition[player] else token
            for token, player in zip(encoding["input_ids"], owner, strict=True)
        ]
        for coalition in all_coalitions(4).tolist()
    ]
    expected = log_odds(model(input_ids=torch.tensor(rows)).logits)[:, 1]
    same(table.float(), expected, 1e-5)
    assert (example.feature_mask.view(-1).tolist()) == owner


def test_a_causal_model_with_its_own_first_token(llama):
    model, tokenizer = llama
    adapter = CausalLMAdapter(model, tokenizer=tokenizer)
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    assert ids[0, 0] == tokenizer.bos_token_id
    example = adapter.example(TEXT, baseline="zero")
    assert example.inputs.shape[1] == ids.shape[1]
    same(adapter.scores(example.inputs), model(ids).logits[:, -1])
    assert example.feature_mask[0, 0, 0] == -1
    same(example.baselines[0, 0], example.inputs[0, 0])


def test_a_causal_model_without_one_gets_its_end_of_text_in_front_never_masked(gpt2):
    model, tokenizer = gpt2
    adapter = CausalLMAdapter(model, tokenizer=tokenizer)
    plain = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    ids = torch.cat((torch.tensor([[tokenizer.bos_token_id]]), plain), 1)
    example = adapter.example(TEXT, baseline="zero")
    assert example.inputs.shape[1] == ids.shape[1]
    same(adapter.scores(example.inputs), model(ids).logits[:, -1])
    assert example.feature_mask[0, 0, 0] == -1
    same(example.inputs[0, 0], model.transformer.wte.weight[tokenizer.bos_token_id])
    same(example.baselines[0, 0], example.inputs[0, 0])
    # a text that begins with it already keeps one
    again = adapter.example("<|endoftext|>" + TEXT, baseline="zero", players=["film"])
    assert torch.equal(again.inputs, example.inputs)


def test_a_causal_model_that_gives_the_scores_of_all_positions(gpt2):
    class Older(GPT2LMHeadModel):
        def forward(self, input_ids=None, inputs_embeds=None, use_cache=None):
            return super().forward(input_ids, inputs_embeds=inputs_embeds, use_cache=use_cache)

    model, tokenizer = Older(gpt2[0].config).eval(), gpt2[1]
    model.load_state_dict(gpt2[0].state_dict())
    older = CausalLMAdapter(model, tokenizer=tokenizer)
    inputs = older.example(TEXT, baseline="zero").inputs
    assert older.scores(inputs).shape == (1, len(tokenizer))
    same(older.scores(inputs), CausalLMAdapter(gpt2[0], tokenizer=tokenizer).scores(inputs))


@pytest.mark.parametrize("prefix", ["sentiment-llama-a", "sentiment-llama-b"])
def test_the_zoos_causal_models(prefix):
    model, tokenizer = zoo.load(prefix)
    adapter = adapt(model, tokenizer=tokenizer)
    template = zoo.prompt(prefix)
    ids = tokenizer(template.replace("{}", TEXT), return_tensors="pt")["input_ids"]
    example = adapter.example(TEXT, template=template)
    assert example.names == ("not", "a", "bad", "film", "unwatchable", "but", "well-made")
    same(adapter.scores(example.inputs), model(ids).logits[:, -1], 1e-5)
    masked = (example.feature_mask >= 0).sum()
    assert 0 < masked < ids.shape[1] - 3  # the template's words stay


def test_other_classifiers(llama, gpt2):
    torch.manual_seed(0)
    _, tokenizer = llama
    small = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 20,
    }
    roberta = RobertaForSequenceClassification(
        RobertaConfig(**small, num_hidden_layers=1, max_position_embeddings=40, pad_token_id=3, num_labels=3)
    ).eval()
    decoder = LlamaForSequenceClassification(
        LlamaConfig(**small, num_hidden_layers=1, num_key_value_heads=1, pad_token_id=3, num_labels=1)
    ).eval()
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    assert not (ids == 3).any()
    for model in (roberta, decoder):
        adapter = adapt(model, tokenizer=tokenizer)
        assert isinstance(adapter, SequenceClassifierAdapter)
        same(adapter.scores(adapter.example(TEXT, baseline="zero").inputs), model(ids).logits)
    assert adapt(roberta, tokenizer=tokenizer).labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_embeddings_that_the_model_scales(llama):
    _, tokenizer = llama
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, intermediate_size=20, max_position_embeddings=32,
            layer_types=["full_attention"], pad_token_id=3,
        )
    ).eval()  # fmt: skip
    adapter = CausalLMAdapter(model, tokenizer=tokenizer)
    ids = tokenizer("not a bad film", return_tensors="pt")["input_ids"]
    example = adapter.example("not a bad film", baseline="unk")
    same(adapter.scores(example.inputs), model(ids).logits[:, -1])
    unk = ids.clone()
    unk[:, 1:] = tokenizer.unk_token_id  # every token belongs to a word
    assert (example.feature_mask.view(-1)[1:] >= 0).all()
    same(adapter.scores(example.baselines), model(unk).logits[:, -1])
    every = model.get_input_embeddings()(torch.arange(len(tokenizer)))
    same(adapter.example("not", baseline="mean").baselines[0, -1], every.mean(0))


def test_a_bfloat16_model_is_compared_in_float32(bert):
    tokenizer = bert[1]
    model = zoo.load("sentiment-bert-a").model.bfloat16()
    adapter = adapt(model, tokenizer=tokenizer)
    example = adapter.example("not a bad film", baseline="mean")
    assert example.inputs.dtype == example.baselines.dtype == torch.bfloat16
    out = adapter.forward_func(example.inputs)
    assert out.dtype == torch.float32
    same(out, log_odds(model(**tokenizer("not a bad film", return_tensors="pt")).logits.float()))
    assert MaskedGame(adapter.forward_func, **example, target=0).table().isfinite().all()


def test_a_float64_model_keeps_its_digits(bert):
    tokenizer = bert[1]
    model = zoo.load("sentiment-bert-a").model.double()
    adapter = adapt(model, tokenizer=tokenizer)
    out = adapter.forward_func(adapter.example("not a bad film").inputs)
    assert out.dtype == torch.float64
    same(out, log_odds(model(**tokenizer("not a bad film", return_tensors="pt")).logits), 1e-13)


# ------------------------------------------------------------------------------ players


def test_different_tokenizers_have_the_same_players(gpt2, llama, bert):
    adapters = [adapt(m, tokenizer=t) for m, t in (gpt2, llama, bert)]
    examples = [a.example(TEXT, baseline="zero") for a in adapters]
    assert {e.names for e in examples} == {("not", "a", "bad", "film", "unwatchable", "but", "well-made")}
    assert {e.layout for e in examples} == {examples[0].layout}
    assert len({e.inputs.shape[1] for e in examples}) > 1  # and not the same tokens
    both = text_example([gpt2[0], llama[0]], TEXT, tokenizer=[gpt2[1], llama[1]], baseline="zero")
    assert both.names == examples[0].names
    assert both.inputs[1].shape == examples[1].inputs.shape


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize(
    "text", [TEXT, "  naïve café 😀 film!  ", "Don't  stop\n— “ever”.", "हिन्दी film"], ids=lambda t: t[:8]
)
@pytest.mark.parametrize("players", ["words", "tokens"])
def test_pieces_join_back_to_the_text_and_every_player_has_tokens(request, family, text, players):
    model, tokenizer = request.getfixturevalue(family)
    example = adapt(model, tokenizer=tokenizer).example(text, players=players, baseline="zero")
    assert "".join(piece for piece, _ in example.layout.pieces) == text
    assert tuple(piece for piece, player in example.layout.pieces if player >= 0) == example.names
    assert sorted(set(example.feature_mask.view(-1).tolist()) - {-1}) == list(range(len(example.names)))
    masked = (example.feature_mask >= 0).expand_as(example.inputs)
    assert (example.baselines[masked] == 0).all()
    assert torch.equal(example.baselines[~masked], example.inputs[~masked])


def test_a_word_is_masked_whole(bert):
    model, tokenizer = bert
    example = adapt(model, tokenizer=tokenizer).example("an unwatchable film")
    ids = tokenizer("an unwatchable film")["input_ids"]
    assert example.feature_mask.shape == (1, len(ids), 1)
    assert example.feature_mask.view(-1).tolist() == [-1, 0, 1, 1, 1, 2, -1]
    mask = model.get_input_embeddings().weight[tokenizer.mask_token_id]
    assert all(torch.equal(row, mask) for row in example.baselines[0, 1:-1])
    assert example.notes == {"tokens": 7, "baseline": "mask"}
    tokens = adapt(model, tokenizer=tokenizer).example("an unwatchable film", players="tokens")
    assert tokens.names == ("an", "unw", "atch", "able", "film")


def test_given_spans(bert):
    adapter = adapt(bert[0], tokenizer=bert[1])
    example = adapter.example("not a bad film", players=["not", (4, 9)])
    assert example.names == ("not", "a bad")
    assert example.feature_mask.view(-1).tolist() == [-1, 0, 1, 1, -1, -1]
    with pytest.raises(PlayerError, match="overlaps"):
        adapter.example("not a bad film", players=[(0, 5), (4, 9)])


@pytest.mark.parametrize(
    ("text", "options", "error", "says"),
    [
        ("?!", {}, PlayerError, "no players"),
        (" ", {}, InputError, "empty"),
        (3, {}, InputError, "got int"),
        ("a", {"template": "no slot"}, InputError, "template"),
        ("word " * 200, {}, InputError, r"202 tokens and the model takes 128; shorten"),
        ("a", {"players": "syllables"}, PlayerError, "syllables"),
    ],
)
def test_texts_that_cannot_be_used(bert, text, options, error, says):
    with pytest.raises(error, match=says):
        adapt(bert[0], tokenizer=bert[1]).example(text, **options)


# ------------------------------------------------------------------------------ baselines


def masked_vector(example) -> Tensor:
    return example.baselines[0][(example.feature_mask >= 0).view(-1)][0]


def test_named_baselines(bert):
    model, tokenizer = bert
    adapter = adapt(model, tokenizer=tokenizer)
    weight = model.get_input_embeddings().weight.detach()

    def vector(baseline):
        return masked_vector(adapter.example("not a bad film", baseline=baseline))

    for name in ("mask", "pad", "unk"):
        assert torch.equal(vector(name), weight[getattr(tokenizer, f"{name}_token_id")])
    same(vector("mean"), weight.mean(0))
    assert vector("zero").eq(0).all()
    assert torch.equal(vector("film"), weight[tokenizer.convert_tokens_to_ids("film")])
    own = torch.linspace(-1, 1, weight.shape[1], requires_grad=True)
    example = adapter.example("not a bad film", baseline=own)
    same(masked_vector(example), own)
    assert not example.baselines.requires_grad
    assert example.notes["baseline"] == "given vector"
    assert adapter.example("not", baseline=None).notes["baseline"] == "mask"


@pytest.mark.parametrize(
    ("baseline", "says"),
    [
        ("eos", "no eos token for the baseline; it has mask, pad, unk"),
        ("unwatchable", "'unwatchable' is 3 tokens"),
        ("", "is 0 tokens"),
        (torch.zeros(3), r"shape \(128,\), got \(3,\)"),
        (torch.zeros(1, 128), r"got \(1, 128\)"),
        (0.0, "name or a Tensor, got float"),
        ([0.0] * 128, "name or a Tensor, got list"),
    ],
)
def test_unusable_baselines(bert, baseline, says):
    with pytest.raises(InputError, match=says):
        adapt(bert[0], tokenizer=bert[1]).example("not bad", baseline=baseline)


def roughness(adapter, example, target) -> float:
    """By its definition, from the whole table."""
    n = len(example.names)
    table = MaskedGame(adapter.forward_func, **example, target=target).table()[0].tolist()
    v = {frozenset(c): table[sum(1 << (n - 1 - i) for i in c)] for k in range(n + 1)
         for c in itertools.combinations(range(n), k)}  # fmt: skip
    everybody = frozenset(range(n))
    total = 0.0
    for w in (v, {s: v[everybody - s] for s in v}):
        single = [w[frozenset({i})] - w[frozenset()] for i in range(n)]
        total += sum(map(abs, single))
        for i, j in itertools.combinations(range(n), 2):
            total += abs(w[frozenset({i, j})] - w[frozenset()] - single[i] - single[j])
    return total / 2 / abs(v[everybody] - v[frozenset()])


@pytest.mark.parametrize(
    ("family", "names"),
    [("bert", {"mask", "pad", "mean"}), ("gpt2", {"mean", " "}), ("llama", {"mean", " ", "pad", "unk"})],
)
def test_auto_takes_the_smoothest_and_its_figures_are_right(request, family, names):
    model, tokenizer = request.getfixturevalue(family)
    adapter = adapt(model, tokenizer=tokenizer)
    text = "not a bad film"
    target = 1 if family == "bert" else adapter.column(" film")
    example = adapter.example(text, baseline="auto", target=target)
    figures = example.notes["baseline roughness"]
    assert names <= set(figures)
    for name, figure in figures.items():
        expected = roughness(adapter, adapter.example(text, baseline=name), target)
        assert figure == pytest.approx(expected, rel=2e-2, abs=2e-3)
    chosen = example.notes["baseline"]
    assert figures[chosen] == min(figures.values())
    assert torch.equal(example.baselines, adapter.example(text, baseline=chosen).baselines)


def test_auto_is_the_default_without_a_mask_token_and_judges_a_contrast(gpt2):
    adapter = adapt(gpt2[0], tokenizer=gpt2[1])
    alone = adapter.example("not a bad film", target=" dogs").notes
    assert alone["baseline"] in alone["baseline roughness"]
    pair = adapter.example("not a bad film", target=(" dogs", " cats")).notes
    assert pair["baseline roughness"] != alone["baseline roughness"]
    with pytest.raises(TargetError):
        adapter.example("not a bad film", target="several tokens here")


# ------------------------------------------------------------------------------ targets


def test_labels_of_a_classifier(bert):
    adapter = adapt(bert[0], tokenizer=bert[1])
    assert adapter.labels == ("negative", "positive")
    assert [adapter.target(t) for t in ("negative", "POSITIVE", 0, 1)] == [0, 1, 0, 1]
    with pytest.raises(TargetError, match="did you mean 'positive'"):
        adapter.target("posittive")
    with pytest.raises(TargetError, match=r"0\.\.1, got 2"):
        adapter.target(2)


def test_targets_of_a_causal_model_are_tokens(gpt2):
    model, tokenizer = gpt2
    adapter = adapt(model, tokenizer=tokenizer)
    (film,) = tokenizer(" film")["input_ids"]
    assert adapter.target(" film") == film
    assert adapter.target(film) == film
    assert adapter.label(film) == " film"
    assert adapter.target(adapter.label(film)) == film  # models of one family find each other's targets
    assert adapter.target("1") == tokenizer("1")["input_ids"][0]  # a text, not a number
    with pytest.raises(TargetError, match=r"one token, but 'zebra' is \d"):
        adapter.target("zebra")
    with pytest.raises(TargetError, match="one token"):
        adapter.target("")
    with pytest.raises(TargetError, match=f"0..{len(tokenizer) - 1}"):
        adapter.target(len(tokenizer))


def test_without_a_target_the_prediction_is_explained(bert, gpt2):
    for model, tokenizer in (bert, gpt2):
        adapter = adapt(model, tokenizer=tokenizer)
        example = adapter.example("not a bad film", baseline="zero")
        objective = adapter.objective(None, example)
        assert objective.target == adapter.scores(example.inputs)[0].argmax()
        assert objective.label == adapter.label(objective.target)


def test_a_pair_is_a_difference_of_logits(gpt2):
    model, tokenizer = gpt2
    adapter = adapt(model, tokenizer=tokenizer)
    example = adapter.example("It is raining cats and", baseline="zero")
    objective = adapter.objective((" dogs", " cats"), example)
    (dogs,), (cats,) = tokenizer(" dogs")["input_ids"], tokenizer(" cats")["input_ids"]
    scores = adapter.scores(example.inputs)
    same(objective.forward_func(example.inputs), scores[:, dogs] - scores[:, cats])
    assert objective.target is None
    assert objective.label == f"{adapter.label(dogs)} - {adapter.label(cats)}"


# ------------------------------------------------------------------------------ the model and its tokenizer


def test_the_model_is_left_as_it_was(gpt2):
    model, tokenizer = gpt2
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    model.train()
    model.transformer.wte.weight.requires_grad_(False)
    try:
        example = text_example(model, "not a bad film", tokenizer=tokenizer)  # tries all baselines
        same(example.inputs, text_example(model, "not a bad film", tokenizer=tokenizer).inputs)
        assert all(m.training for m in model.modules())
        assert not model.transformer.wte.weight.requires_grad
        assert model.transformer.wpe.weight.requires_grad
    finally:
        model.eval()
        model.transformer.wte.weight.requires_grad_(True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_baselines_are_judged_without_dropout(gpt2):
    model, tokenizer = gpt2
    with evaluation_mode(model):
        expected = text_example(model, "not a bad film", tokenizer=tokenizer, target=5).notes
    model.train()
    try:
        assert text_example(model, "not a bad film", tokenizer=tokenizer, target=5).notes == expected
    finally:
        model.eval()


def test_a_tokenizer_is_needed_and_has_to_be_a_fast_one(bert):
    with pytest.raises(InputError, match="needs its tokenizer"):
        adapt(bert[0])

    class Slow:
        is_fast = False

    with pytest.raises(InputError, match=r"fast tokenizer.*got Slow"):
        adapt(bert[0], tokenizer=Slow())


def test_the_default_layer_is_the_last_block(bert, gpt2):
    assert adapt(bert[0], tokenizer=bert[1]).default_layer() is bert[0].bert.encoder.layer[-1]
    assert adapt(gpt2[0], tokenizer=gpt2[1]).default_layer() is gpt2[0].transformer.h[-1]


def test_models_are_loaded_from_directories(tmp_path, gpt2):
    model, tokenizer = gpt2
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, processor = load_pretrained(str(tmp_path))
    assert not loaded.training
    ids = processor("not a bad film", return_tensors="pt")["input_ids"]
    same(loaded(ids).logits, model(ids).logits)
    assert isinstance(adapt(tmp_path), CausalLMAdapter)
    (tmp_path / "config.json").write_text(
        '{"architectures": ["ViTForImageClassification"], "model_type": "vit"}'
    )
    with pytest.raises(InputError, match="holds ViTForImageClassification; expected a sequence"):
        load_pretrained(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot load a model"):
        load_pretrained(str(tmp_path))


def test_a_directory_without_a_model(tmp_path):
    with pytest.raises(InputError, match="cannot load a model from"):
        load_pretrained(str(tmp_path))


def test_a_model_that_no_family_knows_is_refused_with_its_tokenizer(bert):
    with pytest.raises(InputError, match="no adapter accepts a BertModel"):
        adapt(bert[0].bert, tokenizer=bert[1])
    assert isinstance(bert[0].bert, nn.Module)


def test_a_causal_model_is_asked_after_the_text_not_after_its_end_token():
    """A tokenizer that closes texts would have the value read at the closing token."""
    from tokenizers.processors import TemplateProcessing

    model, tokenizer = zoo.load("sentiment-llama-a")
    plain = CausalLMAdapter(model, tokenizer=tokenizer)
    expected = plain.example("not a bad film")
    _, closing = zoo.load("sentiment-llama-a")
    closing.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(t, closing.convert_tokens_to_ids(t)) for t in ("[CLS]", "[SEP]")],
    )
    assert len(closing("not a bad film")["input_ids"]) == expected.inputs.shape[1] + 1
    found = CausalLMAdapter(model, tokenizer=closing).example("not a bad film")
    assert torch.equal(found.inputs, expected.inputs)
    assert torch.equal(found.feature_mask, expected.feature_mask)


def test_labels_that_exclude_nothing_have_log_odds_of_their_own():
    model, tokenizer = zoo.load("sentiment-bert-a")
    model.config.problem_type = "multi_label_classification"
    example = text_example(model, "not a bad film", tokenizer=tokenizer)
    logits = model(inputs_embeds=example.inputs).logits.detach()
    same(adapt(model, tokenizer=tokenizer).forward_func(example.inputs).detach(), logits)
    prob = adapt(model, tokenizer=tokenizer, output="prob").forward_func(example.inputs)
    same(prob.detach(), logits.sigmoid())


def test_a_pair_is_a_difference_of_the_output_asked_for(bert):
    model, tokenizer = bert
    adapter = adapt(model, tokenizer=tokenizer, output="prob")
    example = adapter.example("not a bad film")
    value = adapter.objective((0, 1), example).forward_func(example.inputs)
    probabilities = model(inputs_embeds=example.inputs).logits.softmax(-1)
    same(value.detach(), (probabilities[:, 0] - probabilities[:, 1]).detach())


def test_positions_counted_from_behind_the_padding():
    from transformers import RobertaConfig, RobertaForSequenceClassification

    _, tokenizer = zoo.load("sentiment-bert-a")
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=10, pad_token_id=1,
    )  # fmt: skip
    adapter = adapt(RobertaForSequenceClassification(config).eval(), tokenizer=tokenizer)
    fits = adapter.example("not a bad bad bad film")  # and [CLS], [SEP]: 8 tokens
    assert adapter.forward_func(fits.inputs).shape == (1, 2)
    with pytest.raises(InputError, match="9 tokens and the model takes 8"):
        adapter.example("not a bad bad bad bad film")


# ------------------------------------------------------------------------------ no padding


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_text_is_never_padded_whatever_its_tokenizer_does_for_others(request, family, side):
    model, given = request.getfixturevalue(family)
    plain = adapt(model, tokenizer=given).example("not a bad film", baseline="zero")
    tokenizer = copy.deepcopy(given)
    tokenizer.padding_side = side
    tokenizer.backend_tokenizer.enable_padding(
        direction=side, length=30, pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token
    )
    padded = tokenizer("not a bad film", padding="max_length", max_length=30)["input_ids"]
    assert padded.count(tokenizer.pad_token_id) > 9  # as for a batch of texts
    tokenizer.backend_tokenizer.enable_padding(
        direction=side, length=30, pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token
    )
    example = adapt(model, tokenizer=tokenizer).example("not a bad film", baseline="zero")
    assert torch.equal(example.inputs, plain.inputs)
    assert example.inputs.shape[1] == len(given("not a bad film")["input_ids"])
    assert torch.equal(example.feature_mask, plain.feature_mask)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_mask_of_padding_is_refused_rather_than_ignored(request, family):
    model, tokenizer = request.getfixturevalue(family)
    adapter = adapt(model, tokenizer=tokenizer)
    example = adapter.example("not a bad film", baseline="zero")
    given = dict(example) | {"additional_forward_args": torch.ones(1, example.inputs.shape[1])}
    with pytest.raises(InputError, match=r"alone, got 2 arguments; a text is never padded"):
        MaskedGame(adapter.forward_func, **given, target=0).table()


# ------------------------------------------------------------------------------ players of one text in others


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_players_are_marked_wherever_they_stand_in_other_texts(request, family):
    model, tokenizer = request.getfixturevalue(family)
    adapter = adapt(model, tokenizer=tokenizer)
    like = adapter.example("not a bad unwatchable film", baseline="zero")
    texts = {
        "a film, not unwatchable": [1, 4, 0, 3],
        "It is raining": None,  # nobody plays there
        "Bad bad cats": [2, -1, -1],  # one place for each player
    }
    examples = list(adapter.examples(texts, like=like))
    assert len(examples) == 2
    for found, text in zip(examples, (t for t in texts if texts[t]), strict=True):
        own = adapter.example(text, baseline="zero")
        players = [*texts[text], -1]  # of the text's words, and of what is no word
        expected = [players[i] for i in own.feature_mask.view(-1).tolist()]
        assert found.feature_mask.view(-1).tolist() == expected
        assert found.feature_mask.shape == own.feature_mask.shape
        assert torch.equal(found.inputs, own.inputs)
        assert found.names == like.names


@pytest.mark.parametrize("baseline", ["mask", "mean", "film"])
def test_the_marked_have_the_baseline_of_the_input_they_come_from(bert, baseline):
    model, tokenizer = bert
    adapter = adapt(model, tokenizer=tokenizer)
    like = adapter.example("not a bad film", baseline=baseline)
    (found,) = adapter.examples(["a day that was bad"], like=like)
    marked = found.feature_mask.view(-1) >= 0
    assert marked.tolist() == [False, True, False, False, False, True, False]
    vector = masked_vector(like)
    assert all(torch.equal(cells, vector) for cells in found.baselines[0, marked])
    assert torch.equal(found.baselines[0, ~marked], found.inputs[0, ~marked])
    assert found.baselines.shape == found.inputs.shape


def test_words_of_the_template_are_never_marked():
    model, tokenizer = zoo.load("sentiment-llama-a")
    adapter = adapt(model, tokenizer=tokenizer)
    template = zoo.prompt("sentiment-llama-a")
    assert "review" in template
    like = adapter.example("a bad review", template=template)
    (found,) = adapter.examples(["the review is bad"], template=template, like=like)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(template.format("the review is bad"))["input_ids"])
    by_player = {p: t for t, p in zip(tokens, found.feature_mask.view(-1).tolist(), strict=True) if p >= 0}
    assert by_player == {1: "bad", 2: "review"}
    assert found.feature_mask.view(-1).tolist().count(2) == 1
    assert tokens.count("review") == 2


def test_without_an_input_to_be_like_nobody_plays(bert):
    model, tokenizer = bert
    adapter = adapt(model, tokenizer=tokenizer)
    found = list(adapter.examples(["not bad", "a film"]))
    assert [e.feature_mask for e in found] == [None, None]
    assert torch.equal(found[0].inputs, adapter.example("not bad").inputs)
    assert adapter.players_come_and_go
