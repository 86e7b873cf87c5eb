import numpy as np
import pytest
from scipy.sparse import csr_array

from captionseg.curation.leave_one_out import LeaveOneOut


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    return (rng.normal(size=(25, 4)) * [1, 5, 0.1, 2] + 3).astype(np.float32), rng.random(
        (25, 3)
    ) < 0.4


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
    fitted = LeaveOneOut.fit(features, csr_array(labels), strength)
    np.testing.assert_allclose(
        fitted.predict(np.arange(25)), by_refitting(features, labels, strength), atol=1e-4
    )


def test_chunks_change_nothing(data):
    features, labels = data
    whole = LeaveOneOut.fit(features, csr_array(labels), 1.0).predict(np.arange(25))
    parts = LeaveOneOut.fit(features, csr_array(labels), 1.0, chunk=7).predict(np.arange(25))
    np.testing.assert_allclose(whole, parts, atol=1e-5)
    some = LeaveOneOut.fit(features, csr_array(labels), 1.0).predict(np.array([3, 20]))
    np.testing.assert_allclose(some, whole[[3, 20]], atol=1e-6)
