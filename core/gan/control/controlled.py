"""What `gan.load` returns: a model whose samples are controlled by latents, directions and projections."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gan.contracts import Samples
from gan.control.directions import Directions
from gan.control.model import LatentModel
from gan.control.paths import Path as LatentPath
from gan.errors import UsageError
from gan.generation.loading import load_model, resolve_run
from gan.plugins.manager import Plugins
from gan.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from gan.control.projection import Projection


class ControlledModel(LatentModel):
    """A `LatentModel` with the directions of its run, paths and projection.

    >>> w = model.latents(seed=3)
    >>> samples = model.decode(w + 2 * model.directions["smile"])
    >>> found = model.project("my-picture.png")
    """

    def interpolate(
        self,
        first_seed: int,
        second_seed: int,
        count: int = 8,
        *,
        options: Mapping[str, Any] | None = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> Samples:
        """Generate `count` samples from sample 0 of one seed to sample 0 of another, both included, at equal steps.

        Styles lie on a line, other latents as the architecture says, conditions on a line; classes are mixed where the
        architecture can. Raises `UsageError` where there is no latent space.
        """
        if count < 2:
            raise UsageError("an interpolation needs at least two samples, its two ends")
        path = LatentPath.of(self, [first_seed, second_seed], options=options, conditions=conditions)
        return self.decode(path.at(np.linspace(0, 1, count)), seed=first_seed, options=options)

    @cached_property
    def directions(self) -> Directions:
        """The directions of the run by name: tensors that broadcast to latents; a length of 1 is one standard
        deviation of the latents along it."""
        return Directions(self)

    def project(self, item: Any, **how: Any) -> Projection:
        """Find latents whose sample is like `item`: a path, a picture, or a sample (field name -> array).

        `how` are settings of `gan.control.projection.project`: ``steps``, ``tune``, ``distance`` …
        """
        from gan.control.projection import project

        return project(self, item, **how)


def load(
    run: RunFolder,
    plugins: Plugins,
    *,
    device: str = "auto",
    checkpoint: str | int = "newest",
    provenance: Mapping[str, Any] | None = None,
) -> ControlledModel:
    """See `gan.api.load`."""
    resolved = resolve_run(run, plugins)
    model = load_model(
        run, plugins, device=device, checkpoint=checkpoint, provenance=provenance, model_class=ControlledModel,
        resolved=resolved,
    )  # fmt: skip
    model.folder, model.plugins = run, plugins
    model.plugin, model.kind = resolved.modality.info.name, resolved.modality.entry.name
    return model
