"""Data for methods that learn, in all the forms they may come in."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from hoi_captum import Example
from hoi_captum.core.batches import batches, check_inputs
from hoi_captum.errors import InputError

X = torch.arange(20.0).view(10, 2)
Y = torch.arange(10) % 3


def joined(data, **options):
    got = list(batches(data, **options))
    labels = [b.labels for b in got]
    return (
        [len(b) for b in got],
        torch.cat([b.inputs[0] for b in got]),
        None if labels[0] is None else torch.cat(labels),
    )


def test_a_tensor_is_cut_in_batches_with_its_labels_and_arguments():
    got = list(batches(X, labels=Y, additional_forward_args=(X + 1, "kept", torch.ones(3)), batch_size=4))
    assert [len(b) for b in got] == [4, 4, 2]
    assert torch.equal(torch.cat([b.inputs[0] for b in got]), X)
    assert torch.equal(torch.cat([b.labels for b in got]), Y)
    assert torch.equal(torch.cat([b.additional[0] for b in got]), X + 1)  # one entry a row: cut
    assert all(b.additional[1] == "kept" and len(b.additional[2]) == 3 for b in got)  # others: whole


def test_a_tuple_is_one_model_s_several_inputs():
    got = list(batches((X, X * 2), batch_size=6))
    assert [len(b.inputs) for b in got] == [2, 2]
    assert torch.equal(got[1].inputs[1], X[6:] * 2)


@pytest.mark.parametrize(
    "data",
    [
        [[X[:4], Y[:4]], [X[4:], Y[4:]]],
        DataLoader(TensorDataset(X, Y), batch_size=4),
        TensorDataset(X, Y),
        [{"inputs": X[:7], "labels": Y[:7]}, {"inputs": X[7:], "labels": Y[7:].tolist()}],
        ([X[i : i + 1], Y[i : i + 1]] for i in range(10)),
    ],
    ids=["lists", "loader", "dataset", "mappings", "generator"],
)
def test_every_form_of_labelled_data_gives_the_same_rows(data):
    _, inputs, labels = joined(data)
    assert torch.equal(inputs, X)
    assert torch.equal(labels, Y)


def test_unlabelled_loaders_tensors_and_examples_have_no_labels():
    for data in (
        DataLoader(TensorDataset(X), batch_size=3),
        [X[:5], X[5:]],
        [Example(inputs=X)],
        Example(inputs=X),
    ):
        _, inputs, labels = joined(data)
        assert torch.equal(inputs, X)
        assert labels is None


def test_a_batch_may_bring_arguments_of_its_own():
    first, second = batches(
        [{"inputs": X, "additional_forward_args": "own"}, {"inputs": X}], additional_forward_args="all"
    )
    assert (first.additional, second.additional) == (("own",), ("all",))


def test_lists_of_tensors_are_tuples():
    for data in (
        DataLoader(TensorDataset(X, X * 2, Y), batch_size=4),
        [{"inputs": [X[:6], X[:6] * 2, Y[:6]]}, [X[6:], X[6:] * 2, Y[6:]]],
    ):
        got = list(batches(data))
        assert all(b.labels is None for b in got)
        for i, known in enumerate((X, X * 2, Y)):
            assert torch.equal(torch.cat([b.inputs[i] for b in got]), known)
    (nested,) = batches([[[X, X * 2], Y]])
    assert torch.equal(nested.inputs[1], X * 2)
    assert torch.equal(nested.labels, Y)


def test_as_many_inputs_as_the_model_takes():
    linear = torch.nn.Linear(2, 2)
    for model, given in ((linear, 1), (lambda a, b=0, *c: a, 3), (max, 5), (lambda a, *, b=0: a, 1)):
        check_inputs(model, (X,) * given, None)
    for model, given, additional in ((linear, 2, None), (linear, 1, Y), (lambda a, b: a, 1, None)):
        with pytest.raises(InputError, match="as many inputs and additional arguments as the model takes"):
            check_inputs(model, (X,) * given, additional)


MASKS = torch.arange(20).view(10, 2) % 5


def test_masks_and_baselines_of_all_rows_are_cut_and_those_of_one_are_not():
    shared = torch.tensor([[0, 1]])
    got = list(batches(X, feature_mask=MASKS, baselines=X + 1, batch_size=4))
    assert torch.equal(torch.cat([b.feature_mask for b in got]), MASKS)
    assert torch.equal(torch.cat([b.baselines for b in got]), X + 1)
    for baselines in (0.5, torch.tensor(0.5), None, torch.zeros(1, 2)):
        got = list(batches(X, feature_mask=shared, baselines=baselines, batch_size=4))
        assert [len(b) for b in got] == [4, 4, 2]
        assert all(b.feature_mask is shared and b.baselines is baselines for b in got)


def test_masks_and_baselines_of_several_inputs_are_cut_one_by_one():
    shared = torch.tensor([[0, 1]])
    first, second = batches((X, X), feature_mask=(MASKS, shared), baselines=(0, X), batch_size=5)
    for batch, part in ((first, slice(0, 5)), (second, slice(5, 10))):
        assert torch.equal(batch.feature_mask[0], MASKS[part])
        assert batch.feature_mask[1] is shared
        assert batch.baselines[0] == 0
        assert torch.equal(batch.baselines[1], X[part])


def test_a_batch_may_bring_a_mask_and_baselines_of_its_own():
    own = {"inputs": X[:4], "feature_mask": MASKS[:4], "baselines": X[:4] + 1}
    data = [own, {"inputs": X[4:]}, {"inputs": X[4:], "feature_mask": None, "baselines": 0}]
    first, second, third = batches(data, feature_mask=MASKS[:1], baselines=0.5)
    assert first.feature_mask is own["feature_mask"]
    assert first.baselines is own["baselines"]
    assert torch.equal(second.feature_mask, MASKS[:1])
    assert second.baselines == 0.5
    assert torch.equal(third.feature_mask, MASKS[:1])  # None is none of its own, and 0 is one
    assert third.baselines == 0


def test_an_example_is_a_batch_with_its_mask_and_baselines():
    example = Example(inputs=X[:1], baselines=X[1:2], feature_mask=MASKS[:1], names=("a", "b"))
    for data in (example, [example, example], iter([example])):
        for batch in batches(data, feature_mask=MASKS[5:6], baselines=7):
            assert batch.feature_mask is example.feature_mask
            assert batch.baselines is example.baselines
    (plain,) = batches(Example(inputs=X), feature_mask=MASKS, baselines=7)
    assert plain.feature_mask is MASKS
    assert plain.baselines == 7


def test_every_batch_of_a_loader_gets_the_shared_mask():
    got = list(batches(DataLoader(TensorDataset(X, Y), batch_size=4), feature_mask=MASKS[:1], baselines=3))
    assert len(got) == 3
    assert all(torch.equal(b.feature_mask, MASKS[:1]) and b.baselines == 3 for b in got)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("text", {}, "Tensor, a tuple of Tensors, a Dataset or an iterable"),
        (3, {}, "got int"),
        ({"inputs": X}, {}, "got dict"),
        ([{"input_ids": X}], {}, "a mapping of input_ids"),
        ([[X, "a", Y]], {}, "expected a batch to be a Tensor"),
        ([[X, X]], {}, r"expected labels as 10 integers.*a list of two is \[inputs, labels\]"),
        (["text"], {}, r"adapt\(model, ...\).examples"),
        (X.numpy(), {}, r"got ndarray; torch.as_tensor"),
        ([X[:0]], {}, "an empty one"),
        ((X, X[:3]), {}, "same batch in dimension 0"),
        (X, {"labels": Y[:3]}, "expected labels as 10 integers"),
        (X, {"labels": Y.float()}, "expected labels as 10 integers"),
        (X, {"labels": ["a"] * 10}, "expected labels as integers"),
        ([X], {"labels": Y}, "let each batch bring its labels"),
    ],
)
def test_data_of_another_kind_are_refused(data, options, message):
    with pytest.raises(InputError, match=message):
        list(batches(data, **options))
