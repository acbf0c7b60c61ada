"""`gan evaluate` and `gan compare`: runs and folders, receipts computed again, numbers that are not comparable."""

from __future__ import annotations

import json
import re
import shutil

import gan.cli.evaluate as verbs
import numpy as np
import pytest
from gan import api
from gan.cli import main
from gan.errors import BadData, UsageError
from gan.evaluation.comparison import paired
from gan.evaluation.evaluate import EvaluationRequest, evaluate
from gan.evaluation.receipts import keep, read_receipts
from gan.evaluation.sample_sets import real_samples, weights_sha256
from gan.plugins.manager import Plugins


@pytest.fixture(scope="module")
def runs(tmp_path_factory, plugins):
    """Two short trainings that differ in their seed."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_CACHE", str(folder / "cache"))
        settings = ["training.samples=2048", "training.batch=64", "training.preview_ticks=0", "evaluation.samples=200"]
        settings += ["evaluation.metrics=[ring-modes, 'kid[raw]']", "training.tick=1024", "training.checkpoint_ticks=1"]
        for name, seed in (("one", 0), ("two", 1)):
            values = api.recipe("toy", settings=[*settings, f"seed={seed}"], plugins=plugins)
            api.train(values, out=folder / name, plugins=plugins)
    return folder


@pytest.fixture(autouse=True)
def same_cache(runs, monkeypatch, plugins):
    monkeypatch.setenv("GAN_CACHE", str(runs / "cache"))
    monkeypatch.setattr(verbs, "installed", lambda ctx: plugins)


def gan(capsys, *arguments, code=0):
    """Standard output of a command, its error stream, and the exit code as expected."""
    with pytest.raises(SystemExit) as leave:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert leave.value.code == code, said.err
    return said


# ------------------------------------------------------------------ runs


def test_a_run_is_measured_as_its_training_measured_it(runs, plugins):
    kept = read_receipts(runs / "one" / "evaluation" / "receipts.json")
    again = api.evaluate(runs / "one", plugins=plugins)
    assert [receipt.metric for receipt in again] == ["ring-modes", "kid[raw]"]
    for old, new in zip(kept, again, strict=True):
        assert new.generated["weights"] == old.generated["weights"]
        assert new.generated["sha256"] == old.generated["sha256"]
        assert new.values == old.values
        assert old.unlike(new) == []


def test_the_receipt_says_everything(runs, plugins):
    (receipt,) = api.evaluate(runs / "one", metrics=["kid[raw]"], count=50, plugins=plugins, seed=5, real_count=70)
    assert receipt.metric_version == "1"
    assert receipt.settings == {"subsets": 100, "subset_size": 1000, "seed": 0}
    assert receipt.extractor["name"] == "raw"
    assert "scaled" in receipt.extractor["preprocessing"]
    assert receipt.generated["count"] == 50
    assert receipt.generated["seed"] == 5
    assert receipt.generated["checkpoint"] == 2048
    assert re.fullmatch("[0-9a-f]{64}", receipt.generated["weights"])
    assert receipt.real["count"] == 70
    assert receipt.real["source"] == "ring"
    assert re.fullmatch("[0-9a-f]{64}", receipt.real["fingerprint"])
    assert receipt.modality == {"name": "points", "settings": {"extent": 6.0}}
    assert {"python", "gan-core", "numpy", "scipy", "torch"} <= receipt.libraries.keys()
    assert receipt.precision == "fp32"
    assert receipt.command.startswith("gan")


def test_seed_and_checkpoint_choose_the_samples(runs, plugins):
    def generated(**more):
        (receipt,) = api.evaluate(runs / "one", metrics=["kid[raw]"], count=20, plugins=plugins, **more)
        return receipt.generated

    first = generated(seed=1)
    assert generated(seed=1)["sha256"] == first["sha256"]
    assert generated(seed=2)["sha256"] != first["sha256"]
    earlier = generated(seed=1, checkpoint="1024")
    assert earlier["checkpoint"] == 1024
    assert earlier["weights"] != first["weights"]
    with pytest.raises(UsageError, match=r"no checkpoint '5'.*1024"):
        generated(checkpoint="5")


def test_a_sweep_measures_at_each_value_of_an_option(runs, capsys, tmp_path):
    """Each column is what a measurement with that option says, and its receipts say the option."""
    arguments = ["evaluate", runs / "one", "--metrics", "kid[raw],precision-recall[raw]", "--count", "60", "--quiet"]
    out = tmp_path / "receipts.json"
    said = gan(
        capsys, *arguments, "--sweep", "truncation=0.1,1.0", "--out", out, "--plots", tmp_path / "pictures"
    ).out.splitlines()
    assert said[0].split() == ["metric", "truncation=0.1", "truncation=1.0", "real"]
    row = next(line for line in said if line.startswith("KID"))
    wanted = []
    for value in ("0.1", "1.0"):
        found = json.loads(gan(capsys, *arguments, "--option", f"truncation={value}", "--json", "--out", out).out)
        wanted.append(next(v["value"] for receipt in found for v in receipt["values"] if "KID" in v["name"]))
    assert wanted[0] != wanted[1]
    assert [float(cell) for cell in (row.split()[1], row.split()[4])] == pytest.approx(
        wanted, rel=1e-3
    )  # value ± error
    asked = [(receipt.metric, receipt.generated["options"]) for receipt in read_receipts(out)]
    assert sorted({options["truncation"] for _, options in asked}) == ["0.1", "1.0"]
    assert len(asked) == 4  # the same questions' answers give way
    assert (tmp_path / "pictures" / "sweep.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sweep", "truncation=1.0"], "at least two values"),
        (["--sweep", "temperature=0.5,1"], "temperature"),
        (["--sweep", "truncation=1,2", "--option", "truncation=1"], "both set truncation"),
    ],
)
def test_a_sweep_that_makes_no_sense(runs, capsys, arguments, words):
    assert words in gan(capsys, "evaluate", runs / "one", *arguments, code=2).err


def test_equal_counts_of_equal_data_are_the_same_real_samples(runs, plugins):
    one, two = (
        api.evaluate(runs / name, metrics=["kid[raw]"], count=30, plugins=plugins)[0] for name in ("one", "two")
    )
    assert one.real["sha256"] == two.real["sha256"]
    assert one.generated["sha256"] != two.generated["sha256"]
    assert one.unlike(two) == []


def test_real_samples_are_a_permutation_repeated_where_there_are_too_few():
    class Rows:
        def __len__(self):
            return 10

        def take(self, indices):
            return {"x": indices.astype(np.int64)}

    taken = real_samples(Rows(), 25)["x"]
    assert sorted(taken[:10]) == list(range(10))
    assert (taken[10:20] == taken[:10]).all()
    assert (real_samples(Rows(), 4)["x"] == taken[:4]).all()


def test_the_hash_of_weights_sees_parameters_and_buffers():
    import torch
    from torch import nn

    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = weights_sha256(network)
    assert weights_sha256(network) == before
    with torch.no_grad():
        network[1].running_mean += 1e-6
    assert weights_sha256(network) != before


# ------------------------------------------------------------------ files


@pytest.fixture
def folder(runs, plugins, tmp_path):
    model = api.load(runs / "one", plugins=plugins)
    samples = model.generate(40, seed=3)
    model.write(samples, tmp_path / "made")
    model.modality.preview(samples).save(tmp_path / "made" / "preview.png")
    return tmp_path / "made"


def test_a_folder_against_data(folder, plugins):
    (by_data,) = api.evaluate(folder, "ring", ["kid[raw]"], plugins=plugins)
    (few,) = api.evaluate(folder, "ring", ["kid[raw]"], count=30, real_count=0, plugins=plugins)
    assert by_data.generated["count"] == by_data.real["count"] == 40
    assert few.generated["count"] == 30
    assert few.real["count"] == 8192


def test_a_run_stands_for_its_data(folder, runs, plugins):
    (by_data,) = api.evaluate(folder, "ring", ["kid[raw]"], plugins=plugins)
    (by_run,) = api.evaluate(folder, runs / "two", ["kid[raw]"], plugins=plugins)
    assert by_run.real["sha256"] == by_data.real["sha256"]
    assert by_run.values == by_data.values


def test_files_are_the_samples_that_were_written(folder, runs, plugins):
    """Written with six decimals and read again, the samples give the value that they gave in memory."""
    (from_files,) = api.evaluate(folder, runs / "one", ["kid[raw]"], plugins=plugins)
    (from_run,) = api.evaluate(runs / "one", metrics=["kid[raw]"], count=40, seed=3, plugins=plugins)
    assert from_files.values[0].value == pytest.approx(from_run.values[0].value, rel=1e-4)
    assert from_files.real["sha256"] == from_run.real["sha256"]


def test_a_run_against_other_data(runs, plugins, tmp_path):
    (tmp_path / "other.csv").write_text("".join(f"{x / 100:.3f},0\n" for x in range(300)))
    (receipt,) = api.evaluate(runs / "one", tmp_path / "other.csv", ["kid[raw]"], count=50, plugins=plugins)
    (own,) = api.evaluate(runs / "one", metrics=["kid[raw]"], count=50, plugins=plugins)
    assert receipt.real["source"] == str(tmp_path / "other.csv")
    assert receipt.values[0].value != own.values[0].value
    assert "real data" in receipt.unlike(own)[0]


def test_broken_files_are_named_and_left_out(folder, plugins, capsys):
    (folder / "broken.csv").write_text("no numbers\n")
    said = gan(capsys, "evaluate", folder, "--against", "ring", "--metrics", "kid[raw]")
    assert "skipped broken.csv" in said.err
    assert "40 generated" in said.out


@pytest.mark.parametrize(
    ("request_values", "error", "words"),
    [
        ({"target": "made"}, UsageError, "name the real data with --against"),
        ({"target": "made", "against": "nothing"}, UsageError, "no file or folder 'nothing'"),
        ({"target": "made", "against": "ring", "seed": 3}, UsageError, "are for runs"),
        ({"target": "nowhere", "against": "ring"}, BadData, "does not exist"),
        ({"target": "one", "modality": "points"}, UsageError, "a run determines its kind"),
        ({"target": "one", "metrics": ["fid[lenet]"]}, UsageError, "no extractor named 'lenet'"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(folder, runs, plugins, request_values, error, words):
    places = {"made": folder, "one": runs / "one"}
    request_values["target"] = str(places.get(request_values["target"], request_values["target"]))
    with pytest.raises(error, match=words):
        evaluate(EvaluationRequest(**request_values), plugins)


# ------------------------------------------------------------------ the commands


def test_the_table_and_the_kept_receipts(runs, capsys, tmp_path):
    out = tmp_path / "r.json"
    said = gan(capsys, "evaluate", runs / "one", "--metrics", "ring-modes,fid[raw]", "--count", "60", "--out", out)
    lines = said.out.splitlines()
    assert lines[0].split() == ["metric", "generated", "real", "better", "is"]
    assert [line.split()[0] for line in lines[1:4]] == ["modes", "near", "FID[raw]"]
    assert "60 generated, 60 real samples" in said.out
    assert [receipt.metric for receipt in read_receipts(out)] == ["ring-modes", "fid[raw]"]
    gan(capsys, "evaluate", runs / "one", "--metrics", "fid[raw]", "--count", "60", "--out", out)
    assert [receipt.metric for receipt in read_receipts(out)] == ["ring-modes", "fid[raw]"]
    gan(capsys, "evaluate", runs / "one", "--metrics", "fid[raw]", "--count", "50", "--out", out)
    assert [receipt.generated["count"] for receipt in read_receipts(out)] == [60, 60, 50]


def test_json_is_the_receipts(runs, capsys, tmp_path):
    said = gan(capsys, "evaluate", runs / "one", "--metrics", "kid[raw]", "--json", "--out", tmp_path / "r.json")
    (record,) = json.loads(said.out)
    assert record["metric"] == "kid[raw]"
    assert said.err == ""


def test_a_failing_metric_is_told_and_is_an_error(runs, capsys, tmp_path):
    said = gan(
        capsys, "evaluate", runs / "one", "--metrics", "inception-score[raw],kid[raw]", "--out", tmp_path / "r", code=1
    )
    assert "failed: the Inception Score needs class probabilities" in said.out
    assert "KID[raw]" in said.out


def test_pictures(runs, capsys, tmp_path):
    from PIL import Image

    gan(
        capsys,
        "evaluate",
        runs / "one",
        "--metrics",
        "kid[raw]",
        "--plots",
        tmp_path / "p",
        "--out",
        tmp_path / "r.json",
    )
    names = sorted(path.name for path in (tmp_path / "p").iterdir())
    assert names == ["nearest-raw.png", "samples.png"]
    assert Image.open(tmp_path / "p" / "samples.png").size[0] > 256


def test_receipts_asked_again_agree(runs, capsys):
    said = gan(capsys, "evaluate", "--receipt", runs / "one" / "evaluation" / "receipts.json")
    assert [line.split()[0] for line in said.out.splitlines()] == ["agrees", "agrees"]


def test_a_moved_run_agrees_and_other_weights_do_not(runs, capsys, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(runs / "one", moved)
    file = moved / "evaluation" / "receipts.json"
    gan(capsys, "evaluate", moved, "--receipt", file)
    shutil.rmtree(moved / "checkpoints" / "samples-000002048")
    said = gan(capsys, "evaluate", moved, "--receipt", file, code=1)
    assert "DIFFERS" in said.out
    assert "generated weights" in said.out


def test_alike_runs_compare_and_the_better_one_is_marked(runs, capsys, tmp_path):
    said = gan(capsys, "compare", runs / "one", runs / "two", "--plots", tmp_path / "p")
    assert said.out.splitlines()[0].split() == ["metric", "one", "two", "real"]
    assert (tmp_path / "p" / "metrics.png").is_file()
    found = json.loads(gan(capsys, "compare", runs / "one", runs / "two", "--json").out)
    one, two = (value["value"] for value in found["values"]["KID[raw]"])
    errors = [value["error"] for value in found["values"]["KID[raw]"]]
    clear = abs(one - two) > np.hypot(*errors)
    assert found["best"]["KID[raw]"] == (("one" if one < two else "two") if clear else None)
    assert found["unlike"] == []


def test_unlike_numbers_are_refused_and_what_differs_is_said(runs, plugins, capsys, tmp_path):
    few, many = tmp_path / "few.json", tmp_path / "many.json"
    keep(api.evaluate(runs / "one", metrics=["kid[raw]"], count=30, plugins=plugins), few)
    keep(api.evaluate(runs / "two", metrics=["kid[raw]"], count=60, plugins=plugins), many)
    said = gan(capsys, "compare", few, many, code=2)
    assert "these numbers are not comparable" in said.err
    assert "generated samples: 30 and 60" in said.err
    assert said.out == ""
    said = gan(capsys, "compare", few, many, "--anyway")
    assert "KID[raw]" in said.out
    assert "*" not in said.out
    assert "generated samples: 30 and 60" in said.err
    # with a receipt that is like the other's, the two compare
    keep(api.evaluate(runs / "one", metrics=["kid[raw]"], count=60, plugins=plugins), few)
    gan(capsys, "compare", few, many)


def test_quality_against_diversity(runs, plugins, capsys, tmp_path):
    files = []
    for name in ("one", "two"):
        files.append(tmp_path / f"{name}.json")
        keep(api.evaluate(runs / name, metrics=["precision-recall[raw]"], count=60, plugins=plugins), files[-1])
    gan(capsys, "compare", *files, "--plots", tmp_path)
    assert (tmp_path / "quality-diversity.png").is_file()


def test_a_modality_says_what_is_drawn_against_each_other(runs, capsys, tmp_path, monkeypatch):
    """The runs have ring-modes' two values, which are a pair of this modality only."""
    drawn = tmp_path / "with" / "quality-diversity.png"
    said = gan(capsys, "compare", runs / "one", runs / "two", "--plots", drawn.parent)
    assert f"picture  {drawn}" in said.out
    assert drawn.is_file()
    monkeypatch.setattr(verbs, "installed", lambda ctx: Plugins())
    gan(capsys, "compare", runs / "one", runs / "two", "--plots", tmp_path / "without")
    assert [path.name for path in (tmp_path / "without").iterdir()] == ["metrics.png"]


def test_values_are_paired_on_the_same_extractor():
    names = ["precision[a]", "recall[b]", "recall[a]", "density", "bleu-3", "self-bleu-3"]
    pairs = [("precision", "recall"), ("density", "coverage"), ("bleu-3", "self-bleu-3")]
    assert paired(names, pairs) == [("precision[a]", "recall[a]"), ("bleu-3", "self-bleu-3")]


def test_nothing_to_compare(runs, capsys, tmp_path):
    assert "at least two runs" in gan(capsys, "compare", runs / "one", code=2).err
    assert "writes receipts" in gan(capsys, "compare", runs / "one", tmp_path, code=2).err
