"""Labels of the files that a run's model writes: the origin that they state and the mark that they get.

The choices are the recipe's section `provenance`; `gan generate` and `gan translate` may change them for one command.
"""

from __future__ import annotations

import hashlib
from typing import Any

from gan.build import ResolvedRecipe
from gan.contracts import Mark
from gan.errors import UsageError
from gan.plugins.manager import PluginEntry, Plugins
from gan.provenance.keys import mark_key
from gan.provenance.labels import Labels
from gan.recipe import Provenance
from gan.storage.checkpoint import Checkpoint
from gan.storage.run_folder import RunFolder


def has_weights(owner: str) -> bool:
    """Whether a part of a checkpoint decides what the model generates."""
    return owner == "architecture" or owner.startswith("average-")


def labels_of(
    resolved: ResolvedRecipe,
    plugins: Plugins,
    run: RunFolder | None = None,
    checkpoint: Checkpoint | None = None,
    choices: Provenance | None = None,
) -> Labels:
    """The labels of a run's files; without a checkpoint, of samples of weights that are still trained.

    `choices` replace the recipe's section. Raises `UsageError` if a mark is wanted and there is none for this data.
    """
    chosen = resolved.recipe.provenance if choices is None else choices
    info = resolved.architecture.info
    origin: dict[str, Any] = {"model": resolved.title, "plugin": f"{info.distribution} {info.version}"}
    if run is not None and run.recipe.is_file():
        origin["recipe"] = hashlib.sha256(run.recipe.read_bytes()).hexdigest()
    if checkpoint is not None:
        origin |= {"weights": checkpoint.digest(has_weights), "trained": checkpoint.samples}
    mark, name = None, ""
    if chosen.mark:
        found = find_mark(plugins, resolved.modality, chosen.mark)
        mark, name = made_mark(plugins, found, mark_key(), chosen.strength), found.entry.name
    if chosen.c2pa:
        from gan.provenance.c2pa import require

        require()
    labels = Labels(origin, chosen.metadata, mark, name, chosen.c2pa)
    return labels.dated() if chosen.date else labels


def find_mark(plugins: Plugins, modality: PluginEntry, wanted: bool | str) -> PluginEntry:
    """The mark for a modality: the one called `wanted`, or with True its plugin's own. Raises `UsageError`."""
    kind = modality.entry.name
    fitting = [found for found in plugins.entries("gan_marks") if found.entry.modality == kind]
    if isinstance(wanted, str):
        fitting = [found for found in fitting if found.entry.name == wanted]
    fitting.sort(key=lambda found: found.info.name != modality.info.name)
    if not fitting:
        known = [f"{found.entry.name} for {found.entry.modality}" for found in plugins.entries("gan_marks")]
        called = f" called '{wanted}'" if isinstance(wanted, str) else ""
        raise UsageError(
            f"no plugin marks {kind} data with a mark{called} (there are: {', '.join(known) or 'none'}); leave out "
            "--mark, or set provenance.mark=false"
        )
    return fitting[0]


def made_mark(plugins: Plugins, found: PluginEntry, key: bytes, strength: float | None = None) -> Mark:
    """The mark of an entry with a key."""
    mark_class: type[Mark] = plugins.load(found)
    return mark_class(key, strength)
