"""Great Expectations without what it can do without."""

import importlib

from great_expectations.compatibility import aws, google
from great_expectations.compatibility.not_imported import NotImported

from captionseg.expectations.quiet import EXTRAS


def test_stores_of_data_are_hidden_from_it_and_from_nobody_else():
    assert isinstance(aws.boto3, NotImported)
    assert isinstance(google.storage, NotImported)
    assert "sqlalchemy" in EXTRAS
    assert importlib.import_module("sqlalchemy").__version__
