"""Classes as a condition: the field `label` of a modality, for generators that are told what to draw."""

from __future__ import annotations

from collections.abc import Mapping

from gan.contracts import FieldSpec
from gan.errors import UsageError
from gan.game import Batch
from gan.latents import class_shares
from torch import Tensor


def classes_of(fields: Mapping[str, FieldSpec]) -> int:
    """Number of classes of the data; 0 where they have none."""
    label = fields.get("label")
    return 0 if label is None else len(label.names) or int(label.high) + 1


def labels_of(fields: Mapping[str, Tensor] | None, classes: int) -> Tensor | None:
    """One-hot ``(N, classes)`` float32 of a batch, one-hot or shares of a request's given fields; None without classes.

    Raises `UsageError` where a model with classes gets none.
    """
    if not classes:
        return None
    if fields is None or "label" not in fields:
        raise UsageError("the model has classes; give the class of each image (--label)")
    return class_shares(fields["label"], classes)


def training_labels(batch: Batch, classes: int, dropout: float = 0.0) -> Tensor | None:
    """`labels_of` a batch; the rows of a share of `dropout` (0 … 1) of the images are zero, which stands for no class.

    All turns of an iteration hide the same labels, from the generator as from the discriminator.
    """
    if not classes or not dropout:
        return labels_of(batch.fields, classes)
    if "labels" not in batch.shared:
        labels = labels_of(batch.fields, classes)
        assert labels is not None
        batch.shared["labels"] = labels * (batch.rng.rand(1) >= dropout)
    shown: Tensor = batch.shared["labels"]
    return shown


def class_indices(fields: Mapping[str, Tensor] | None, classes: int) -> Tensor | None:
    """``(N,)`` int64 of a batch or of a request's given fields, or its shares ``(N, classes)``; None without classes.

    Raises `UsageError` where a model with classes gets none.
    """
    if not classes:
        return None
    if fields is None or "label" not in fields:
        raise UsageError("the model has classes; give the class of each image (--label)")
    label = fields["label"]
    return label if label.ndim == 2 else label.long()
