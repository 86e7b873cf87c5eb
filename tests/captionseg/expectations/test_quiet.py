"""Great Expectations without what it can do without."""

import importlib

from tests.imported_late import import_late

quiet = import_late("captionseg.expectations.quiet")


def test_stores_of_data_are_hidden_from_it_and_from_nobody_else():
    assert "sqlalchemy" in quiet().EXTRAS
    from great_expectations.compatibility import aws, google
    from great_expectations.compatibility.not_imported import NotImported

    assert isinstance(aws.boto3, NotImported)
    assert isinstance(google.storage, NotImported)
    assert importlib.import_module("sqlalchemy").__version__
