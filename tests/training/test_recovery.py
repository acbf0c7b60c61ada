"""Going back after numbers that fail takes everything back that was derived from the records since."""

from __future__ import annotations

import math

from gan import api
from gan.storage.checkpoint import Checkpoints
from gan.storage.run_folder import RunFolder
from gan.testing.mlp import MLP
from gan.training.session import Session


def test_a_roll_back_drops_the_best_checkpoint_of_what_is_trained_again(tmp_path, monkeypatch, plugins, cache):
    """Measured every 256 samples, saved every 1,024; from iteration 6 on all gradients are NaN until the training has
    gone back. Right after it, at 0 samples, no record and no best checkpoint of the part that is gone is left."""
    seen: dict[str, object] = {"poisoned": True}
    phases = MLP.phases

    def poisoned(self, loss, penalties):
        (phase,) = phases(self, loss, penalties)
        objective = phase.turns[0].objective

        def sometimes(batch):
            terms = dict(objective(batch))
            if seen["poisoned"] and batch.position >= 6 * 64:
                terms["loss"] = terms["loss"] * math.nan
            return terms

        object.__setattr__(phase.turns[0], "objective", sometimes)
        return [phase]

    review_records = Session._review_records

    def watched(self):
        review_records(self)
        if self.trainer.samples == 0 and self.run.best.is_dir() is False and "opened" not in seen:
            seen["opened"] = True  # the call when the run is opened
            return
        seen["poisoned"] = False
        seen["records"] = len(self.run.read_metrics())
        seen["best"] = Checkpoints(self.run.best).all()

    monkeypatch.setattr(MLP, "phases", poisoned)
    monkeypatch.setattr(Session, "_review_records", watched)
    settings = ["training.batch=64", "training.tick=256", "training.checkpoint_ticks=4", "training.max_skips=2"]
    settings += ["training.samples=1024", "evaluation.every=256", "evaluation.best=near", "evaluation.samples=64"]
    api.train(api.recipe("toy", settings=settings, plugins=plugins), out=tmp_path / "run", plugins=plugins)
    assert seen["records"] == 0
    assert seen["best"] == []
    run = RunFolder.open(tmp_path / "run")
    places = [record["samples"] for record in run.read_metrics()]
    assert places == sorted(set(places))
