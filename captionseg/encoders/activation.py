"""Chooses the activation of a CLIP's MLPs, QuickGELU or GELU, which no tensor tells."""

from __future__ import annotations

import logging
from typing import NamedTuple

from captionseg.encoders.clip_file import NAMES, ClipFile
from captionseg.records import UserError

log = logging.getLogger(__name__)
QUICK, PLAIN = "QuickGELU", "GELU"


def name_activation(quick: bool) -> str:
    """QuickGELU or GELU."""
    return QUICK if quick else PLAIN


def find_activation(file: ClipFile) -> bool | None:
    """The activation that all say; None where nobody says any.

    Raises:
        UserError: where one says this and one that.
    """
    sources = {one.quick: one.by for one in file.evidence}
    if len(sources) == 2:
        raise UserError(
            f"{file.path}: {sources[True]} says {QUICK}, but {sources[False]} says {PLAIN}; one of "
            "them is wrong"
        )
    return next(iter(sources), None)


class ActivationRequest(NamedTuple):
    """What the user says of an activation.

    Attributes:
        choice: auto takes what the file says; else this is obeyed.
        quick: whether the model's name says QuickGELU.
        twin: whether there is a model of the same shape with the other activation, so that the name
            alone decides nothing: QuickGELU's, for a name that does not end with -quickgelu.
        model: its name.
        where: dotted path of `choice`.
    """

    choice: str
    quick: bool
    twin: str
    model: str
    where: str


def choose_activation(file: ClipFile, request: ActivationRequest) -> bool:
    """Whether the MLPs of a checkpoint have QuickGELU.

    Raises:
        UserError: where the file and the name contradict each other, or nothing says it.
    """
    if request.choice != "auto":
        chosen = NAMES[request.choice]
        if against := next((one.by for one in file.evidence if one.quick != chosen), None):
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
