"""Data for methods that learn, in all the forms they may come in."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from hoi_captum import Example
from hoi_captum.core.batches import batches
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


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("text", {}, "Tensor, a tuple of Tensors, a Dataset or an iterable"),
        (3, {}, "got int"),
        ({"inputs": X}, {}, "got dict"),
        ([{"input_ids": X}], {}, "a mapping of input_ids"),
        ([[X, Y, Y]], {}, "expected a batch to be a Tensor"),
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
