"""Chooses the activation of a CLIP's MLPs, QuickGELU or GELU, which no tensor tells."""

from __future__ import annotations

import logging
from typing import NamedTuple

from captionseg.encoders.clip_file import NAMES, ClipFile
from captionseg.records import UserError

log = logging.getLogger(__name__)
QUICK, PLAIN = "QuickGELU", "GELU"


def name_activation(quick: bool) -> str:
    """Return the name of an activation: QuickGELU or GELU."""
    return QUICK if quick else PLAIN


def find_activation(file: ClipFile) -> bool | None:
    """Return whether all evidence says QuickGELU (True) or GELU (False); None without evidence.

    Raises:
        UserError: for contradictory evidence.
    """
    sources = {evidence.quick: evidence.by for evidence in file.evidence}
    if len(sources) == 2:
        raise UserError(
            f"{file.path}: {sources[True]} says {QUICK}, but {sources[False]} says {PLAIN}; one of "
            "them is wrong"
        )
    return next(iter(sources), None)


class ActivationRequest(NamedTuple):
    """The activation that params and the name of a model ask for.

    Attributes:
        choice: auto, quick_gelu or gelu.
        quick: whether the model of this name has QuickGELU.
        twin: name of the same model with QuickGELU, if the model has GELU; empty if there is none.
            With a twin, the name alone does not decide.
        model: name of the model.
        where: dotted path of `choice`, for messages.
    """

    choice: str
    quick: bool
    twin: str
    model: str
    where: str


def choose_activation(file: ClipFile, request: ActivationRequest) -> bool:
    """Return whether the MLPs of a checkpoint have QuickGELU.

    Raises:
        UserError: if the file contradicts the name of the model, or the activation is unknown.
    """
    if request.choice != "auto":
        chosen = NAMES[request.choice]
        if against := next((e.by for e in file.evidence if e.quick != chosen), None):
            log.warning(
                "%s: using %s because of %s, although %s says %s",
                file.path,
                name_activation(chosen),
                request.where,
                against,
                name_activation(not chosen),
            )
        return chosen
    quick = find_activation(file)
    if request.quick and quick is False:
        raise UserError(
            f"{file.path}: {file.evidence[0].by} says {PLAIN}, but {request.model} has {QUICK}; "
            f"use the model without -quickgelu, or {request.where}: quick_gelu"
        )
    if quick is None and request.twin and not request.quick:
        raise UserError(
            f"{file.path}: unknown whether these weights were trained with {QUICK} (OpenAI, "
            f"MetaCLIP, DFN) or {PLAIN} (LAION, DataComp); use {request.twin}, or {request.model} "
            f"with {request.where}: gelu"
        )
    return request.quick if quick is None else quick
