"""All checks of params.yaml together.

Every check yields one line per mistake: the path, what was found, what to do.
"""

from __future__ import annotations

from collections.abc import Collection

from captionseg.checks.limits import check_counts, check_recipes, check_rules
from captionseg.checks.named_files import check_files
from captionseg.checks.numbers import check_gate, check_regression
from captionseg.params import Params
from captionseg.records import UserError


def check(params: Params, *, done: Collection[str] = ()) -> None:
    """Refuse params that would fail in any stage, or have no effect.

    Args:
        params: the whole file.
        done: sections whose files are not checked, because the stages that read them are done.

    Raises:
        UserError: one line per mistake.
    """
    params.check()
    faults = [
        *check_rules(params),
        *check_counts(params),
        *check_recipes(params),
        *check_gate(params),
        *check_regression(params),
        *check_files(params, done),
    ]
    if faults:
        raise UserError("\n".join(dict.fromkeys(faults)))
