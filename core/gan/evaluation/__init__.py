"""Measure runs and files, with receipts."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.evaluation.evaluate import Evaluation, EvaluationRequest, judge

_LAZY = {
    "Evaluation": "gan.evaluation.evaluate",
    "EvaluationRequest": "gan.evaluation.evaluate",
    "judge": "gan.evaluation.evaluate",
}
__all__ = ["Evaluation", "EvaluationRequest", "judge"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gan.evaluation' has no attribute '{name}'")
