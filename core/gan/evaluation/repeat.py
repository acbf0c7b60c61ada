"""Repeat the evaluations behind receipts and compare the values, for `gan evaluate --receipt`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gan.errors import UsageError
from gan.evaluation.evaluate import EvaluationRequest, evaluate
from gan.evaluation.receipts import Receipt, agreement
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Reporter
from gan.storage.run_folder import RunFolder


def evaluate_again(
    receipts: Sequence[Receipt], plugins: Plugins, *, target: str | None = None, device: str, reporter: Reporter
) -> list[tuple[Receipt, list[str]]]:
    """Compute the values of receipts again: each receipt with what differs now; an empty list means agreement.

    `target` is where the run or the folder is now, if it has moved. Receipts of one request are computed together.
    """
    groups: dict[str, list[tuple[int, Receipt]]] = {}
    for number, receipt in enumerate(receipts):
        rest = {key: value for key, value in receipt.question.items() if key != "metrics"}
        key = json.dumps([rest, receipt.generated.get("checkpoint")], sort_keys=True)
        groups.setdefault(key, []).append((number, receipt))
    differences: dict[int, list[str]] = {}
    for group in groups.values():
        request = _request_of(group[0][1], [receipt.metric for _, receipt in group], target)
        again = evaluate(request, plugins, device=device, reporter=reporter).receipts
        for (number, old), new in zip(group, again, strict=True):
            found = agreement(old, new)
            differences[number] = [*found, *old.remarks(new)] if found else []
    return [(receipt, differences[number]) for number, receipt in enumerate(receipts)]


def _request_of(receipt: Receipt, metrics: list[str], target: str | None) -> EvaluationRequest:
    if not receipt.question:
        raise UsageError(f"the receipt of {receipt.metric} holds no request and cannot be computed again")
    changes = {"metrics": metrics, **({"target": target} if target else {})}
    try:
        request = EvaluationRequest(**{**receipt.question, **changes})
    except TypeError as error:
        raise UsageError(f"the receipt of {receipt.metric}: {error}") from None
    if "checkpoint" not in receipt.generated:
        return request
    return replace(request, checkpoint=_same_checkpoint(Path(request.target).expanduser(), receipt))


def _same_checkpoint(folder: Path, receipt: Receipt) -> str:
    """The checkpoint that was evaluated if it still exists, otherwise the one that was requested."""
    wanted = f"samples-{receipt.generated['checkpoint']:09d}"
    run = RunFolder(folder)
    if (run.checkpoints / wanted).is_dir():
        return str(receipt.generated["checkpoint"])
    return "best" if (run.best / wanted).is_dir() else str(receipt.question["checkpoint"])
