"""LayerLocalCorEx: what it learns, what it says, what it refuses."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, NoiseTunnel
from sklearn.cluster import KMeans
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hoi_captum import LayerLocalCorEx
from hoi_captum.core.pooling import Pooling
from hoi_captum.corex import BioCorEx, LinearCorEx
from hoi_captum.corex.factors import member_threshold
from hoi_captum.errors import (
    DataWarning,
    FileError,
    InputError,
    ModelOutputError,
    NotFittedError,
    OptionError,
    TargetError,
    TrainingModeWarning,
)

CLASSES = 3
QUICK = {"n_factors": 3, "n_clusters": 2, "embedder": None, "min_rows": 10}


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 12), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(12, CLASSES)
    ).eval()


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    return make_net()


@pytest.fixture(scope="module")
def data() -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.cat([torch.randn(150, 6, generator=g) - 2, torch.randn(150, 6, generator=g) + 2])


@pytest.fixture(scope="module")
def fitted(net, data) -> LayerLocalCorEx:
    return LayerLocalCorEx(net, net[1], include_logits=True, **QUICK).fit(data)


def activations(net: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return net[0](x).clamp(min=0)


# ---------------------------------------------------------------- learning
def test_it_learns_what_the_estimators_learn_of_the_activations(net, data, fitted):
    logs = net(data).double().log_softmax(1).detach()
    labels = KMeans(2, random_state=42, n_init=10).fit_predict(activations(net, data))
    assert len(np.unique(labels + 2 * fitted.local_.cluster_labels_)) == 2  # the same two regions
    matrix = torch.cat([activations(net, data), logs], 1).numpy()
    for k in range(2):
        own = matrix[fitted.local_.cluster_labels_ == k]
        expected = LinearCorEx(3, gaussianize="outliers", random_state=42).fit(own)
        np.testing.assert_allclose(fitted.local_.models_[k].mi_, expected.mi_, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(fitted.means_[k], own[:, :12].mean(0), rtol=1e-5)
    assert fitted.class_columns_ == (0, 1, 2)
    assert fitted.player_names[-1] == "log p(class 2)"


@pytest.mark.parametrize("form", ["loader", "labelled loader", "batches", "mappings", "dataset"])
def test_streamed_data_teach_the_same_as_data_given_whole(net, data, fitted, form):
    labels = torch.zeros(len(data), dtype=torch.long)
    given = {
        "loader": DataLoader(TensorDataset(data), batch_size=37),
        "labelled loader": DataLoader(TensorDataset(data, labels), batch_size=64),
        "batches": (data[i : i + 50] for i in range(0, 300, 50)),
        "mappings": [{"inputs": data[:100]}, {"inputs": data[100:]}],
        "dataset": TensorDataset(data, labels),
    }[form]
    other = LayerLocalCorEx(net, net[1], include_logits=True, **QUICK).fit(given)
    np.testing.assert_allclose(other.local_.models_[0].mi_, fitted.local_.models_[0].mi_, atol=1e-5)


def test_regions_of_the_inputs_and_regions_that_are_given(net, data):
    method = LayerLocalCorEx(net, net[1], partition="inputs", **QUICK).fit(data)
    halves = (torch.arange(300) >= 150).numpy()
    assert len(np.unique(method.local_.cluster_labels_ + 2 * halves)) == 2  # as the data were made
    given = LayerLocalCorEx(net, net[1], **QUICK).fit(data, cluster_labels=halves.astype(int))
    assert (given.local_.cluster_labels_ == halves).all()
    scopes = [t.scope_names[0] for t in given.interact(data[[0, 299]])]
    assert scopes == ["cluster:0", "cluster:1"]


def test_the_input_of_a_layer_can_be_explained(net, data):
    method = LayerLocalCorEx(net, net[3], **QUICK).fit(data, attribute_to_layer_input=True)
    after = LayerLocalCorEx(net, net[2], **QUICK).fit(data)
    assert method.attribute(data[:4]).shape == (4, 12)
    np.testing.assert_allclose(method.local_.models_[0].mi_, after.local_.models_[0].mi_, atol=1e-8)


def test_the_same_seed_teaches_the_same_and_nothing_else_is_touched(net, data):
    weights = copy.deepcopy(net.state_dict())
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = LayerLocalCorEx(net, net[1], n_factors=2, n_clusters=2).fit(data)  # with PHATE
    second = LayerLocalCorEx(net, net[1], n_factors=2, n_clusters=2).fit(data)
    assert torch.equal(first.attribute(data[:5]), second.attribute(data[:5]))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(torch.equal(weights[k], v) for k, v in net.state_dict().items())


# ---------------------------------------------------------------- attribute and interact
def test_an_attribution_is_the_information_of_the_rows_region(fitted, net, data):
    assert isinstance(fitted, LayerAttribution)
    rows = data[[0, 10, 200]]
    clusters = fitted.local_.predict(activations(net, rows).numpy())
    expected = np.stack([fitted.local_.models_[k].mi_[0, :12] for k in clusters])
    np.testing.assert_allclose(fitted.attribute(rows).numpy(), expected, rtol=1e-6)
    assert clusters[0] != clusters[2]


def test_the_target_chooses_the_factor_that_knows_most_of_its_class(fitted, data):
    rows, classes = data[[0, 200]], [1, 2]
    clusters = [int(t.scope_names[0][-1]) for t in fitted.interact(rows)]
    chosen = [fitted.class_association(k)[:, c].argmax() for k, c in zip(clusters, classes, strict=True)]
    expected = np.stack([fitted.local_.models_[k].mi_[j, :12] for k, j in zip(clusters, chosen, strict=True)])
    np.testing.assert_allclose(fitted.attribute(rows, target=classes).numpy(), expected, rtol=1e-6)
    strongest = fitted.attribute(rows).numpy()
    assert not np.allclose(strongest, expected)
    last = fitted.attribute(rows, target=-1)
    assert torch.equal(last, fitted.attribute(rows, target=2))
    assert not torch.equal(last, fitted.attribute(rows))
    for bad in (3, [0], "x"):
        with pytest.raises(TargetError):
            fitted.attribute(rows, target=bad)


def test_a_factor_that_is_named_is_shown(net, data, fitted):
    method = LayerLocalCorEx(net, net[1], factor=2, include_logits=True, **QUICK).fit(data)
    rows = data[[3]]
    k = int(method.interact(rows)[0].scope_names[0][-1])
    np.testing.assert_allclose(
        method.attribute(rows, target=0)[0], fitted.local_.models_[k].mi_[2, :12], rtol=1e-6
    )
    with pytest.raises(InputError, match=r"expected factor in 0\.\.2, got 7"):
        LayerLocalCorEx(net, net[1], factor=7, **QUICK).fit(data).attribute(rows)


def test_terms_are_the_factors_with_their_members(fitted, data):
    table = fitted.interact(data[:1])[0]
    k = int(table.scope_names[0][-1])
    model, rows = fitted.local_.models_[k], int(fitted.local_.cluster_sizes_[k])
    assert table.kinds.tolist() == ["corex"] * len(table)
    assert table.base == {f"cluster:{k}": 0.0}
    terms = list(table)
    for mi, tc in zip(model.mi_, model.tcs_, strict=True):
        members = tuple(np.flatnonzero(mi > member_threshold(mi[:12], rows)).tolist())
        term = next(t for t in terms if t.score == tc)
        assert term.members == members
        np.testing.assert_allclose(term.weights, mi[list(members)])
    row = np.concatenate(
        [activations(fitted.forward_func, data[:1]), fitted.forward_func(data[:1]).log_softmax(1).detach()], 1
    )
    np.testing.assert_allclose(table.arrays["factor_values"], model.transform(row)[0], rtol=1e-4)
    assert table.provenance.method == "layer-local-corex"
    assert table.provenance.details["cluster_rows"] == rows


def test_a_threshold_in_nats_is_taken_as_it_is(net, data):
    method = LayerLocalCorEx(net, net[1], threshold=0.2, **QUICK).fit(data)
    for table in method.interact(data[[0, 299]]):
        k = int(table.scope_names[0][-1])
        expected = [tuple(np.flatnonzero(mi > 0.2).tolist()) for mi in method.local_.models_[k].mi_]
        assert {t.members for t in table} == {m for m in expected if m}


def test_channels_and_tokens_get_the_value_of_their_neuron():
    torch.manual_seed(0)
    conv = nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2)
    ).eval()
    images = torch.randn(120, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    method = LayerLocalCorEx(conv, conv[1], n_factors=2, n_clusters=1, embedder=None).fit(images)
    shown = method.attribute(images[:2])
    assert shown.shape == (2, 5, 6, 6)
    mi = torch.tensor(method.local_.models_[0].mi_[0], dtype=torch.float32)
    torch.testing.assert_close(shown, mi.view(1, 5, 1, 1).expand(2, 5, 6, 6))
    assert method.player_names[0] == "channel 0"
    kept = LayerLocalCorEx(conv, conv[1], n_factors=2, n_clusters=1, embedder=None, pooling="none").fit(
        images
    )
    assert len(kept.player_names) == 5 * 36
    assert not torch.allclose(kept.attribute(images[:1])[0, 0], kept.attribute(images[:1])[0, 0, 0, 0])


def test_noise_tunnel_runs_over_it(fitted, data):
    same = NoiseTunnel(fitted).attribute(data[:3], nt_samples=4, stdevs=0.0)
    torch.testing.assert_close(same, fitted.attribute(data[:3]))


def test_a_replaced_forward_function_is_used(fitted, net, data):
    other = copy.copy(fitted)
    calls = []
    other.forward_func = lambda x: calls.append(len(x)) or net(x)
    assert torch.equal(other.attribute(data[:2]), fitted.attribute(data[:2]))
    assert calls == [2]


# ---------------------------------------------------------------- classes
def test_the_association_with_a_class_is_the_information_about_its_log_probability(fitted):
    for k in range(2):
        mi = fitted.local_.models_[k].mi_
        np.testing.assert_array_equal(fitted.class_association(k), mi[:, 12:])
        np.testing.assert_array_equal(fitted.class_association(k, 1), mi[1, 12:])
        signed = fitted.class_association(k, signed=True)
        np.testing.assert_array_equal(np.abs(signed), mi[:, 12:])
        rho = fitted.local_.models_[k].correlations_[:, 12:]
        assert (np.sign(signed) == np.sign(rho) * (mi[:, 12:] > 0)).all()
        assert (signed < 0).any()
        assert (signed > 0).any()


def test_some_of_the_classes_can_be_included(net, data):
    method = LayerLocalCorEx(net, net[1], include_logits=[2, 0], class_names=["a", "b", "c"], **QUICK).fit(
        data
    )
    assert method.player_names[-2:] == ("log p(c)", "log p(a)")
    assert method.class_association(0).shape == (3, 2)


# ---------------------------------------------------------------- perturb
def test_moving_the_layer_runs_the_rest_of_the_network(fitted, net, data):
    rows = data[:4]
    moved = fitted.perturb(rows, 1, 0.7, cluster=1, direction="mi")
    mi = torch.tensor(fitted.local_.models_[1].mi_[1, :12], dtype=torch.float32)
    np.testing.assert_allclose(moved.direction, mi)
    assert moved.strengths.tolist() == [-0.7, 0.0, 0.7]
    hidden = activations(net, rows)
    for s, output in zip(moved.strengths, moved.outputs, strict=True):
        torch.testing.assert_close(output, net[3](hidden + float(s) * mi).detach())
    torch.testing.assert_close(moved.change[1], torch.zeros(4, CLASSES))


def test_it_can_start_from_the_regions_mean_and_be_decoded(fitted, net, data):
    decoder = nn.Linear(CLASSES, 2)
    moved = fitted.perturb(
        data[:2],
        0,
        (0.0, 2.0),
        cluster=0,
        direction="mi",
        around="cluster",
        decoder=decoder,
        decoder_layer=net[3],
    )
    mean = torch.tensor(fitted.means_[0], dtype=torch.float32)
    mi = torch.tensor(fitted.local_.models_[0].mi_[0, :12], dtype=torch.float32)
    for s, output, decoded in zip((0.0, 2.0), moved.outputs, moved.decoded, strict=True):
        expected = net[3](mean + s * mi).detach()
        torch.testing.assert_close(output, expected.expand(2, -1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(decoded, decoder(expected).detach().expand(2, -1), rtol=1e-4, atol=1e-5)
    # without a layer of its own the decoder sees the perturbed one
    seen = fitted.perturb(data[:1], 0, (1.0,), cluster=0, direction="mi", decoder=lambda z: z).decoded[0, 0]
    torch.testing.assert_close(seen, activations(net, data[:1])[0] + mi)


def test_the_direction_may_have_signs_or_be_the_factors_own(net, data):
    method = LayerLocalCorEx(
        net, net[1], estimator=LinearCorEx(3, random_state=0), n_clusters=1, embedder=None
    ).fit(data)
    model = method.local_.models_[0]
    signed = method.perturb(data[:1], 0).direction
    np.testing.assert_allclose(signed, np.sign(model.correlations_[0]) * model.mi_[0])
    assert (signed < 0).any()
    along = method.perturb(data[:1], 0, direction="factor").direction
    step = np.zeros((2, 3))
    step[1, 0] = np.std(model.transform(activations(net, data).numpy())[:, 0])
    np.testing.assert_allclose(along, np.subtract(*model.inverse_transform(step)[::-1]), rtol=1e-2, atol=1e-9)
    bio = LayerLocalCorEx(
        net, net[1], estimator=BioCorEx(2, random_state=0), n_clusters=1, embedder=None
    ).fit(data)
    np.testing.assert_array_equal(bio.perturb(data[:1], 0).direction, bio.local_.models_[0].mi_[0])
    with_classes = LayerLocalCorEx(
        net, net[1], estimator=BioCorEx(2, random_state=0), include_logits=True, **(QUICK | {"n_clusters": 1})
    ).fit(data)
    with pytest.raises(OptionError, match="signed=False with BioCorEx"):
        with_classes.class_association(0, signed=True)
    for direction in ("signed-mi", "factor"):
        with pytest.raises(OptionError, match="direction 'mi' with BioCorEx"):
            bio.perturb(data[:1], 0, direction=direction)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"strength": float("nan")}, OptionError),
        ({"strength": "much"}, OptionError),
        ({"strength": ()}, OptionError),
        ({"factor": 9}, InputError),
        ({"factor": -1}, OptionError),
        ({"cluster": 2}, InputError),
        ({"around": "nothing"}, OptionError),
        ({"direction": "up"}, OptionError),
        ({"decoder": lambda z: "picture"}, ModelOutputError),
        ({"decoder": 3}, OptionError),
        ({"decoder": lambda z: z, "decoder_layer": "3"}, OptionError),
    ],
)
def test_unusable_perturbations_are_refused(fitted, data, options, error):
    with pytest.raises(error):
        fitted.perturb(data[:2], **({"factor": 0} | options))


def test_what_is_compared_with_must_be_there(fitted, data):
    moved = fitted.perturb(data[:2], 0, (1.0, 2.0), cluster=0)
    assert repr(moved) == "Perturbation(cluster=0, factor=0, outputs of shape (2, 2, 3))"
    with pytest.raises(InputError, match=r"strength 0 among \[1.0, 2.0\]"):
        moved.change  # noqa: B018


# ---------------------------------------------------------------- ablate
def test_ablation_counts_what_the_silenced_network_does(fitted, net, data):
    labels = net(data).argmax(1)
    labels[::3] = (labels[::3] + 1) % CLASSES  # a model that errs
    found = fitted.ablate(DataLoader(TensorDataset(data, labels), batch_size=70), 0, 5, cluster=1)
    mi = fitted.local_.models_[1].mi_[0, :12]
    assert found.neurons == tuple(np.argsort(-mi, kind="stable")[:5].tolist())
    hidden = activations(net, data)
    before = net[3](hidden).softmax(1).detach().double()
    hidden[:, list(found.neurons)] = 0
    after = net[3](hidden).softmax(1).detach().double()
    regions = fitted.local_.cluster_labels_
    for i, k in enumerate(found.clusters):
        own = torch.from_numpy(regions == k)
        assert found.sizes[i] == own.sum()
        for scores, accuracy, mean in (
            (before, found.accuracy_before, found.probabilities_before),
            (after, found.accuracy_after, found.probabilities_after),
        ):
            assert accuracy[i] == pytest.approx(float((scores.argmax(1) == labels)[own].double().mean()))
            np.testing.assert_allclose(mean[i], scores[own].mean(0), rtol=1e-5)
        np.testing.assert_array_equal(found.classes[i], np.bincount(labels[own], minlength=CLASSES))
    np.testing.assert_allclose(found.accuracy_change, 100 * (found.accuracy_after - found.accuracy_before))
    np.testing.assert_allclose(found.class_share(1) * found.sizes, found.classes[:, 1])
    assert found.probability_change.shape == (2, CLASSES)
    assert repr(found).startswith(
        "Ablation(cluster=1, factor=0, 5 neurons; accuracy in points by cluster: 0: "
    )
    assert (found.accuracy_before < 0.9).all()


def test_without_labels_agreement_with_the_whole_model_counts(fitted, data):
    found = fitted.ablate(data, 0, 12, cluster=0, value=3.0)
    assert found.accuracy_before.tolist() == [1.0, 1.0]
    assert found.probabilities_after[0] == pytest.approx(
        found.probabilities_after[1]
    )  # one layer for all rows


def test_ablation_refuses_what_it_cannot_use(fitted, net, data):
    with pytest.raises(InputError, match="n_neurons of at most 12, got 13"):
        fitted.ablate(data, 0, 13, cluster=0)
    with pytest.raises(InputError, match=r"labels in 0\.\.2, got 0 to 7"):
        fitted.ablate(data, 0, 3, cluster=0, labels=torch.arange(300) % 8)
    method = LayerLocalCorEx(lambda x: net(x)[:, 0], net[1], **QUICK).fit(data)
    with pytest.raises(ModelOutputError, match="two classes or more"):
        method.ablate(data, 0, 3, cluster=0)


# ---------------------------------------------------------------- files
def test_what_was_learned_is_saved_and_loaded(fitted, net, data, tmp_path):
    path = fitted.save(tmp_path / "layer.safetensors")
    loaded = LayerLocalCorEx.load(path, net, net[1])
    rows = data[[0, 5, 299]]
    assert torch.equal(loaded.attribute(rows, target=1), fitted.attribute(rows, target=1))
    assert loaded.interact(rows) == fitted.interact(rows)
    assert torch.equal(loaded.perturb(rows, 1).outputs, fitted.perturb(rows, 1).outputs)
    np.testing.assert_array_equal(
        loaded.ablate(data, 0, 3, cluster=0).accuracy_after,
        fitted.ablate(data, 0, 3, cluster=0).accuracy_after,
    )
    with pytest.warns(DataWarning, match="is of the layer '1' and is given '3'"):
        other = LayerLocalCorEx.load(path, net, net[3])
    with pytest.raises(InputError, match="12 neurons that fit"):
        other.attribute(rows)
    (tmp_path / "other.safetensors").write_bytes(b"no")
    with pytest.raises(FileError):
        LayerLocalCorEx.load(tmp_path / "other.safetensors", net, net[1])
    table = fitted.interact(rows)[0].save(tmp_path / "table.safetensors")
    with pytest.raises(FileError, match="format"):
        LayerLocalCorEx.load(table, net, net[1])


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize("verb", ["attribute", "interact", "perturb", "save", "class_association", "ablate"])
def test_nothing_is_said_before_fit(net, data, tmp_path, verb):
    method = LayerLocalCorEx(net, net[1])
    arguments = {
        "save": (tmp_path / "x.safetensors",),
        "class_association": (0,),
        "ablate": (data, 0, 1),
    }.get(verb, (data,))
    options = {"cluster": 0} if verb == "ablate" else {}
    with pytest.raises(NotFittedError, match="call fit"):
        getattr(method, verb)(*arguments, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"n_factors": 0},
        {"n_clusters": 0},
        {"pooling": "max"},
        {"include_logits": "yes"},
        {"include_logits": [-1]},
        {"include_logits": [0, 0]},
        {"include_logits": []},
        {"partition": "outputs"},
        {"factor": -1},
        {"threshold": -0.1},
        {"min_rows": 1},
        {"random_state": -1},
        {"neuron_dim": 0},
    ],
    ids=lambda o: next(iter(o)),
)
def test_unusable_options_are_refused_at_once(net, options):
    with pytest.raises(OptionError, match=f"expected {next(iter(options))}"):
        LayerLocalCorEx(net, net[1], **options)


def test_models_and_layers_that_are_none_are_refused(net):
    with pytest.raises(InputError, match="forward_func"):
        LayerLocalCorEx("net", net[1])
    with pytest.raises(InputError, match="layer"):
        LayerLocalCorEx(net, "1")


def test_bad_data_are_refused(net, data):
    def method(**options):
        return LayerLocalCorEx(net, net[1], **(QUICK | options))

    with pytest.raises(InputError, match="did not run"):
        LayerLocalCorEx(net, nn.ReLU(), **QUICK).fit(data)
    with pytest.raises(InputError, match="at least one row"):
        method().fit([])
    with pytest.raises(InputError, match=r"one row of the layer for each.*of one row.*give x\[None\]"):
        method().fit(data[0])
    with pytest.raises(InputError, match="as many inputs and additional arguments as the model takes, got 2"):
        method().fit(data, additional_forward_args=data)
    with pytest.raises(InputError, match="expected neuron_dim to be a dimension behind the rows"):
        method(neuron_dim=7).fit(data)
    for partition in ("layer", "inputs"):
        with pytest.raises(ModelOutputError, match="NaN or infinity at the layer ReLU"):
            method(partition=partition).fit(data.clone().index_fill(1, torch.tensor(2), float("nan")))
    with pytest.raises(OptionError, match="internal_batch_size"):
        method().fit(data, internal_batch_size=0)
    with pytest.raises(OptionError, match="class_names for the classes up to 2, got 2"):
        method(include_logits=True, class_names=["a", "b"]).fit(data)
    several = [data[:150], data[150:]]
    changing = lambda x: net(x)[:, : 2 + int(x.mean() > 0)]  # noqa: E731
    with pytest.raises(ModelOutputError, match=r"as many classes in every batch, got \[2, 3\]"):
        LayerLocalCorEx(changing, net[1], include_logits=True, **QUICK).fit(several)
    with pytest.raises(ModelOutputError, match="expected 2 classes in every batch, got 3"):
        LayerLocalCorEx(changing, net[1], **QUICK).fit(data).ablate(several, 0, 1, cluster=0)
    with pytest.raises(InputError):  # one distinct row
        method(n_clusters=1).fit(data[:1].expand(100, 6))
    with pytest.raises(InputError, match="clusters"):
        method(n_clusters=9).fit(data[:5])
    with pytest.raises(ModelOutputError, match="two classes or more"):
        LayerLocalCorEx(lambda x: net(x)[:, :1], net[1], include_logits=True, **QUICK).fit(data)
    with pytest.raises(InputError, match=r"classes in 0\.\.2, got 5"):
        method(include_logits=[5]).fit(data)
    noisy = make_net().train()
    with pytest.warns(TrainingModeWarning):
        LayerLocalCorEx(noisy, noisy[1], **QUICK).fit(data)


def test_a_width_that_changes_between_batches_is_refused():
    model = nn.Sequential(nn.Identity())
    texts = [torch.randn(40, n, 4, generator=torch.Generator().manual_seed(n)) for n in (3, 5)]
    with pytest.raises(InputError, match=r"expected 12 neurons in every batch, got 20.*pooling='mean'"):
        LayerLocalCorEx(model, model[0], pooling="none", **QUICK).fit(texts)
    method = LayerLocalCorEx(model, model[0], **QUICK).fit(texts)  # tokens are averaged
    assert method.attribute(texts[1]).shape == (40, 5, 4)
    with pytest.raises(InputError, match="rows of \\[12, 20\\] numbers"):
        LayerLocalCorEx(model, model[0], partition="inputs", **QUICK).fit(texts)


def test_a_region_too_small_for_factors_says_nothing_and_says_so(net, data):
    method = LayerLocalCorEx(net, net[1], **(QUICK | {"min_rows": 40}))
    regions = torch.zeros(300, dtype=torch.long)
    regions[:20] = 1
    with pytest.warns(DataWarning):
        method.fit(data, cluster_labels=regions.numpy())
    with pytest.warns(DataWarning, match=r"regions \[1\]"):
        shown = method.attribute(data[[0, 299]])
    assert shown[0].abs().sum() == 0
    assert shown[1].abs().sum() > 0
    with pytest.warns(DataWarning):
        tables = method.interact(data[[0, 299]])
    assert len(tables[0]) == 0
    assert len(tables[1]) > 0
    with pytest.raises(InputError, match=r"cluster to be one of \[0\], got 1"):
        method.class_association(1)


def test_a_failed_fit_leaves_what_was_learned_before(net, data):
    method = LayerLocalCorEx(net, net[1], **QUICK).fit(data)
    before = method.interact(data[:3])
    with pytest.raises(InputError):
        method.fit(data[:5], attribute_to_layer_input=True)
    assert method.interact(data[:3]) == before


def test_probabilities_are_not_taken_for_logits(net, data):
    model = nn.Sequential(*net, nn.Softmax(dim=1)).eval()
    options = {"include_logits": True} | QUICK
    with pytest.warns(DataWarning, match="are probabilities"):
        method = LayerLocalCorEx(model, model[1], **options).fit(data)
    expected = LayerLocalCorEx(net, net[1], **options).fit(data)
    for k in range(2):
        clipped = [np.minimum(m.class_association(k), 2) for m in (method, expected)]
        np.testing.assert_allclose(*clipped, atol=1e-2)
    with pytest.warns(DataWarning, match="are probabilities"):
        found = method.ablate(data, 0, 3, cluster=0)
    true = expected.ablate(data, 0, 3, cluster=0)
    np.testing.assert_allclose(found.probabilities_before, true.probabilities_before, atol=1e-5)


class Reused(nn.Module):
    """One ReLU that runs twice, as in torchvision's residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Linear(6, 9), nn.Linear(9, 12), nn.Linear(12, CLASSES)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.head(self.relu(self.second(self.relu(self.first(x)))))


def test_of_a_module_that_runs_twice_the_last_run_is_read_and_changed(data):
    model = Reused().eval()
    method = LayerLocalCorEx(model, model.relu, **QUICK).fit(data)
    hidden = model.relu(model.second(model.relu(model.first(data)))).detach()
    assert len(method.neuron_names_) == 12
    found = method.ablate(data, 0, 4, cluster=0)
    silenced = hidden.clone()
    silenced[:, list(found.neurons)] = 0
    after = model.head(silenced).softmax(1).detach().numpy()
    regions = method.local_.cluster_labels_
    np.testing.assert_allclose(found.probabilities_after[0], after[regions == 0].mean(0), rtol=1e-4)
    moved = method.perturb(data[:2], 0, (1.0,), cluster=0)
    step = torch.tensor(moved.direction, dtype=torch.float32)
    torch.testing.assert_close(moved.outputs[0], model.head(hidden[:2] + step).detach())
    with pytest.raises(InputError, match="runs before the layer that is moved"):
        method.perturb(data[:2], 0, decoder=lambda z: z, decoder_layer=model.first)


def test_numbers_of_regions_may_be_left_out(net, data):
    regions = np.where(np.arange(300) < 150, 0, 2)
    with pytest.warns(DataWarning):
        method = LayerLocalCorEx(net, net[1], **QUICK).fit(data, cluster_labels=regions)
    assert np.isnan(method.means_[1]).all()
    assert np.isfinite(method.means_[[0, 2]]).all()


def test_a_loaded_method_knows_its_estimator_and_refuses_what_a_file_cannot_hold(net, data, tmp_path):
    own = {"estimator": BioCorEx(2, random_state=0), "clusterer": KMeans(2, random_state=0), "embedder": None}
    method = LayerLocalCorEx(net, net[1], min_rows=10, **own).fit(data)
    loaded = LayerLocalCorEx.load(method.save(tmp_path / "x.safetensors"), net, net[1])
    assert isinstance(loaded.estimator, BioCorEx)
    assert loaded.embedder is None
    with pytest.raises(OptionError, match="clusterer"):
        loaded.fit(data)
    plain = LayerLocalCorEx(net, net[1], **QUICK).fit(data)
    again = LayerLocalCorEx.load(plain.save(tmp_path / "y.safetensors"), net, net[1])
    assert again.estimator is None
    assert torch.equal(again.fit(data).attribute(data[:3]), plain.attribute(data[:3]))
    assert again.interact(data[:1])[0].provenance.options == plain.interact(data[:1])[0].provenance.options


# ---------------------------------------------------------------- HuggingFace models as they are
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_padding_is_no_part_of_a_text(pooling):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=30, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    model = transformers.LlamaForCausalLM(config).eval()
    layer = model.model.layers[0]
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 30, (60, 5), generator=g)
    lengths = torch.randint(1, 6, (60,), generator=g)
    mask = (torch.arange(5) < lengths.unsqueeze(1)).long()

    def logits(ids, mask):  # the last token's, for each row
        return model(input_ids=ids, attention_mask=mask).logits[torch.arange(len(ids)), mask.sum(1) - 1]

    options = {
        "n_factors": 2,
        "n_clusters": 1,
        "embedder": None,
        "pooling": pooling,
        "include_logits": [3, 7],
    }
    method = LayerLocalCorEx(logits, layer, **options).fit(ids, additional_forward_args=mask)
    # the same texts, one at a time and never padded
    alone = LayerLocalCorEx(lambda ids: model(input_ids=ids).logits[:, -1], layer, **options).fit(
        [row[: int(n)].unsqueeze(0) for row, n in zip(ids, lengths, strict=True)]
    )
    np.testing.assert_allclose(method.means_, alone.means_, atol=1e-5)
    # a factor that is one variable may know any large amount of it: the objective does not tell
    found, expected = (np.minimum(m.local_.models_[0].mi_, 2.0) for m in (method, alone))
    np.testing.assert_allclose(found, expected, atol=1e-2)
    shown = method.attribute(ids[:3], target=3, additional_forward_args=mask[:3])
    assert shown.shape == (3, 5, 8)


class Tokens(nn.Module):
    """Tanh tokens, and the mean of those behind ``start``; writes into its inputs, as a model may."""

    def __init__(self, start: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.last, self.start = nn.Sequential(nn.Linear(4, 6), nn.Tanh()), nn.Linear(6, 2), start

    def forward(self, x, types=None, mask=None):
        return self.last(self.layer(x.mul_(2))[:, self.start :].mean(1))


def tokens(rows: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, 5, 4, generator=torch.Generator().manual_seed(seed))


def test_the_data_stay_as_they_are():
    net, data, x = Tokens().eval(), tokens(60), tokens(2, 3)
    method = LayerLocalCorEx(net, net.layer, **QUICK).fit(data)
    method.attribute(x), method.interact(x), method.perturb(x)
    found = method.ablate(data, 0, 1, cluster=0, value=0.0)
    assert torch.equal(data, tokens(60))
    assert torch.equal(x, tokens(2, 3))
    whole = LayerLocalCorEx(net, net.layer, **QUICK).fit(data, internal_batch_size=60)
    np.testing.assert_array_equal(whole.means_, method.means_)
    assert found.accuracy_before.tolist() == [1.0] * len(found.accuracy_before)


def test_a_factor_moves_the_tokens_that_its_neurons_were_read_from():
    types, mask = torch.tensor([[0, 1, 1, 1, 1]]), torch.tensor([[1, 1, 1, 0, 0]])
    x = tokens(2, 3)
    for pooling, start, moves in (
        ("last", 0, True),  # the types are taken for a mask
        (Pooling("last", mask=1), 3, False),
        (Pooling("mean", mask=1), 3, False),
        (Pooling("mean", mask=1), 2, True),
        (Pooling("last", mask=None), 4, True),
        (Pooling("mean", mask=None), 4, True),
    ):
        net = Tokens(start).eval()
        method = LayerLocalCorEx(net, net.layer, pooling=pooling, **QUICK)
        method.fit(tokens(60), additional_forward_args=(types, mask))
        found = method.perturb(x, strength=[1.0, 0.0], additional_forward_args=(types, mask))
        assert (not torch.equal(found.outputs[0], found.outputs[1])) == moves


def test_the_masks_place_is_kept_in_files(tmp_path):
    net = Tokens().eval()
    given = {"additional_forward_args": (torch.tensor([[0, 1, 1, 1, 1]]), torch.tensor([[1, 1, 1, 0, 0]]))}
    method = LayerLocalCorEx(net, net.layer, pooling=Pooling("mean", 2, mask=1), **QUICK).fit(
        tokens(60), **given
    )
    loaded = LayerLocalCorEx.load(method.save(tmp_path / "one.safetensors"), net, net.layer)
    assert loaded.pooling == method.pooling
    assert torch.equal(loaded.attribute(tokens(2, 3), **given), method.attribute(tokens(2, 3), **given))
    for options in ({"pooling": Pooling("each")}, {"pooling": Pooling(), "neuron_dim": 1}, {"pooling": 3}):
        with pytest.raises(OptionError):
            LayerLocalCorEx(net, net.layer, **options)
