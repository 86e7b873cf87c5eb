"""Great Expectations, told to call nobody and to draw no progress bars. Everything here imports it
from this file.
"""

from __future__ import annotations

import os

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when the package is imported

import great_expectations as gx
from great_expectations import expectations as expect
from great_expectations.data_context import EphemeralDataContext
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.row_conditions import Column

__all__ = ["Column", "expect", "gx", "new_context"]


def new_context() -> EphemeralDataContext:
    """A context that lives in memory; suites are code, so nothing has to be kept."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for site in list(context.get_site_names()):
        context.delete_data_docs_site(site)  # the default one lies in the system's temporary folder
    return context
