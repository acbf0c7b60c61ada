"""Classes as a condition: the field `label` of a modality, for generators that are told what to draw."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from gan.contracts import FieldSpec
from gan.errors import UsageError
from torch import Tensor


def classes_of(fields: Mapping[str, FieldSpec]) -> int:
    """Number of classes of the data; 0 where they have none."""
    label = fields.get("label")
    return 0 if label is None else int(label.high) + 1


def labels_of(fields: Mapping[str, Tensor] | None, classes: int) -> Tensor | None:
    """One-hot ``(N, classes)`` float32 of a batch or of a request's given fields; None where there are no classes.

    Raises `UsageError` where a model with classes gets none.
    """
    if not classes:
        return None
    if fields is None or "label" not in fields:
        raise UsageError("the model has classes; give the class of each image (--label)")
    return torch.nn.functional.one_hot(fields["label"].long(), classes).float()
