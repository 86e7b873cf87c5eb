import numpy as np
import pytest
from scipy.sparse import csr_array

from captionseg.curation import leave_one_out, relevance
from captionseg.curation.leave_one_out import LeaveOneOut


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    return (rng.normal(size=(25, 4)) * [1, 5, 0.1, 2] + 3).astype(np.float32), rng.random(
        (25, 3)
    ) < 0.4


def predict(features, labels, strength, *, rows=range(25), chunk=4096):
    """g of some rows, with all concepts."""
    model = LeaveOneOut.fit(features, csr_array(labels), strength, chunk=chunk)
    rows = np.array(rows)
    return model.predict(rows, features[rows], labels[rows])


def by_refitting(features, labels, strength):
    """Each row left out in turn: ridge on standardised columns with a constant that is not
    shrunk."""
    x = (features - features.mean(0)) / (features.std(0) + 1e-6) / np.sqrt(features.shape[1])
    x = np.concatenate([x, np.ones((len(x), 1))], 1).astype(np.float64)
    shrink = np.diag([strength] * features.shape[1] + [1e-6])
    out = []
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        out.append(
            x[i] @ np.linalg.solve(x[others].T @ x[others] + shrink, x[others].T @ labels[others])
        )
    return np.array(out)


@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_closed_form_equals_refitting_without_each_row(data, strength):
    features, labels = data
    np.testing.assert_allclose(
        predict(features, labels, strength), by_refitting(features, labels, strength), atol=1e-4
    )


def test_chunks_change_nothing(data):
    features, labels = data
    whole = predict(features, labels, 1.0)
    parts = predict(features, labels, 1.0, chunk=7)
    np.testing.assert_allclose(whole, parts, atol=1e-5)
    some = predict(features, labels, 1.0, rows=[3, 20])
    np.testing.assert_allclose(some, whole[[3, 20]], atol=1e-6)


def test_single_concepts_are_predicted_as_all_of_them(data, monkeypatch):
    """At the candidates of a row, and at what is labelled; also where concepts are many."""
    features, labels = data
    model = LeaveOneOut.fit(features, csr_array(labels), 1.0)
    whole, rows = predict(features, labels, 1.0), np.arange(25)
    concept = np.tile([2, 0, -1], (25, 1))
    given = np.take_along_axis(labels, np.maximum(concept, 0), 1)
    for few in (256, 0):
        monkeypatch.setattr(relevance, "FEW", few)
        monkeypatch.setattr(leave_one_out, "FEW", few)
        found = model.predict(rows, features, given, concept)
        np.testing.assert_allclose(found[:, :2], whole[:, [2, 0]], atol=1e-5)
        named = model.predict_named(features, csr_array(labels), chunk=4)
        np.testing.assert_allclose(named, whole[labels], atol=1e-5)
        other = LeaveOneOut.fit(features, csr_array(labels), 1.0)
        np.testing.assert_allclose(other.weights, model.weights, atol=1e-5)
