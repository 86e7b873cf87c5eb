"""Great Expectations without telemetry and progress bars, and without the stores of data that its
extras add. This package imports it only from here.
"""

from __future__ import annotations

import os

from captionseg.runtime.start_up import hide_packages

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when the package is imported

EXTRAS = ("azure.storage", "boto3", "google.cloud", "pyspark", "sqlalchemy")
"""Packages that Great Expectations works without, and that take half a second to import."""

with hide_packages(*EXTRAS):
    import great_expectations as gx
    from great_expectations import expectations as expect
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.expectation import _format_map_output as format_rows
    from great_expectations.expectations.row_conditions import Column
    from great_expectations.validator.validator import calc_validation_statistics as count_successes

__all__ = ["Column", "count_successes", "expect", "format_rows", "gx", "new_context"]


def new_context() -> EphemeralDataContext:
    """Create a context in memory; suites are code, so nothing has to be stored."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for site in list(context.get_site_names()):
        context.delete_data_docs_site(site)  # the default site is in the system's temporary folder
    return context
