"""Light runs: run folders with weights and neither optimizers nor records.

They can make samples and be edited, and cannot be trained further. One is written with tuned weights and refers to the
run that these were tuned from; another is packed to be published with a plugin.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.errors import UsageError
from gan.evaluation.receipts import RECEIPTS, Receipt, read_receipts, write_receipts
from gan.plugins.models import ABOUT
from gan.reporting.manifest import manifest_start, read_manifest
from gan.reporting.result import Result, read_result
from gan.reporting.scrub import scrub
from gan.reporting.side_files import read_recipe, write_manifest_file
from gan.reporting.tables import markdown_table
from gan.storage.checkpoint import Checkpoints
from gan.storage.durable import write_json, write_text
from gan.storage.run_folder import PREVIEW, RunFolder
from gan.storage.strict_yaml import dump_yaml
from gan.watch.verdict import headline

if TYPE_CHECKING:
    from gan.control.model import LatentModel


def save_tuned(parent: LatentModel, tuned: LatentModel, path: Path) -> Path:
    """Write a light run of a tuned model to an empty or new folder and return the path.

    Raises `UsageError` for a model that was not loaded from a run, and where the folder is occupied.
    """
    origin = parent.folder
    if origin is None:
        raise UsageError("a tuned model refers to the run that it was tuned from; load that with gan.load")
    run = RunFolder.create(path)
    for file in (origin.recipe, origin.facts, origin.conditions, origin.flags):
        if file.is_file():
            shutil.copyfile(file, run.path / file.name)
    before = read_manifest(origin.manifest) if origin.manifest.exists() else {}
    about: dict[str, Any] = {"recipe": before.get("recipe", {}), "settled": True, "draws": tuned.draws}
    Checkpoints(run.checkpoints).save(tuned.trained, {"architecture": tuned.architecture}, about)
    record = manifest_start(
        recipe=before.get("recipe", {}),
        distributions=before.get("versions", {}),
        data=before.get("data", {}),
        seed=before.get("seed", 0),
        device=str(tuned.device),
        precision="fp32",
    )
    end = {"ended": record["started"], "exit": "finished", "samples": tuned.trained}
    origin_of = scrub({"tuned_from": {"run": str(origin.path), "samples": tuned.trained}})
    write_manifest_file(run, {**record, **end, **origin_of}, anew=True)
    return run.path


def pack_run(model: LatentModel, path: Path, *, name: str, command: str, licence: str) -> Path:
    """Write a light run of a trained model for a zoo, ``path/name``, with its numbers and card; returns the folder.

    `command` makes it again. Paths of this machine are left out. Raises `UsageError` for a run that has not ended,
    and for weights that its numbers are not of.
    """
    origin = model.folder
    if origin is None:
        raise UsageError("only a model that was loaded from a run can be packed; load it with gan.load")
    before = read_manifest(origin.manifest)
    source = str(before.get("data", {}).get("source", ""))
    name_of_data = Path(source).name if os.sep in source else source
    result = read_result(origin)
    if model.trained != result.samples:
        raise UsageError(
            f"the weights are of {model.trained:,} samples and the numbers of {result.samples:,}; load that checkpoint"
        )
    result = replace(result, data=result.data.replace(source, name_of_data))
    before = json.loads(json.dumps(before).replace(json.dumps(source)[1:-1], name_of_data)) if source else before
    run = RunFolder.create(path / name)
    for folder in (run.evaluation, run.samples):
        folder.mkdir()
    for file in (origin.facts, origin.conditions, origin.flags, origin.samples / PREVIEW):
        if file.is_file():
            shutil.copyfile(file, run.path / file.relative_to(origin.path))
    recipe = read_recipe(origin)
    recipe["data"] = {**recipe.get("data", {}), "source": name_of_data or None}
    write_text(run.recipe, dump_yaml(recipe))
    kind = model.modality
    numbers = list(result.headline) or headline(result.metrics, result.untrained, kind.headline, kind.trade_offs, {})
    pictures = [Path("samples", PREVIEW)]
    here = replace(result, run=Path(), artefacts=[], pictures=pictures, more="", headline=numbers)
    write_json(run.result, here.summary())
    write_receipts(
        [_unplaced(receipt, name_of_data) for receipt in read_receipts(origin.evaluation / RECEIPTS)],
        run.evaluation / RECEIPTS,
    )
    write_text(run.card, _card(here, name, command, licence))
    about: dict[str, Any] = {"recipe": before.get("recipe", {}), "settled": True, "draws": model.draws}
    Checkpoints(run.checkpoints).save(model.trained, {"architecture": model.architecture}, about)
    record = manifest_start(
        recipe=before.get("recipe", {}),
        distributions={k: v for k, v in before.get("versions", {}).items() if k.startswith("gan-")},
        data={**before.get("data", {}), "skipped": {}},
        seed=before.get("seed", 0),
        device=str(model.device),
        precision=before.get("precision", "fp32"),
        argv=command.split(),
    )
    end = {"ended": record["started"], "exit": "finished", "samples": model.trained, "packed_from": {"run": name}}
    write_manifest_file(run, {**record, **end}, anew=True)
    write_json(
        run.path / ABOUT,
        {
            "name": name,
            "title": result.title,
            "data": result.data,
            "licence": licence,
            "command": command,
            "samples": result.samples,
            "seconds": round(result.seconds, 1),
            "verdict": result.verdict.get("sentence", ""),
            "numbers": [dict(number) for number in numbers],
        },
    )
    return run.path


def _card(result: Result, name: str, command: str, licence: str) -> str:
    """The model card of a packed model, with front matter as model hubs read it."""
    front = {"library_name": "gan", "tags": ["gan", *result.title.split("/")], "license": "other"}
    lines = ["---", dump_yaml({**front, "license_name": licence or "not stated"}).rstrip(), "---", "", f"# {name}", ""]
    lines += [f"A small model of {result.title}, trained on {result.data}.", "", f"![Samples](samples/{PREVIEW})", ""]
    lines += [*([result.verdict["sentence"], ""] if result.verdict else [])]
    lines += [f"* Training: {result.samples:,} real samples shown", f"* Licence: {licence or 'not stated'}"]
    lines += [f"* Made again by: `{command}`", "", "```", "gan generate . --count 16 --seed 1 --out more", "```", ""]
    lines += ["Its samples resemble its training data and nothing else, and may repeat parts of them.", ""]
    return "\n".join([*lines, *markdown_table(result.summary())]) + "\n"


def _unplaced(receipt: Receipt, data: str) -> Receipt:
    """A receipt without the folders of the run and of the data."""
    return replace(
        receipt,
        command="",
        question={**receipt.question, "target": "."},
        generated={key: "." if key == "run" else value for key, value in receipt.generated.items()},
        real={key: data if key == "source" else value for key, value in receipt.real.items()},
    )
