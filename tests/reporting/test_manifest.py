"""The record of a run: whole, and without secrets."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from gan import __version__
from gan.errors import CheckpointError
from gan.reporting import manifest
from gan.reporting.scrub import scrub
from gan.storage.durable import write_json
from hypothesis import given
from hypothesis import strategies as st


def record(**changes):
    values = {
        "recipe": {"seed": 3, "training": {"batch": 8}},
        "distributions": {"gan-toy": "1.0"},
        "data": {"source": "ring", "fingerprint": "ab" * 32, "samples": 5, "skipped": {"a.csv": "no numbers"}},
        "seed": 3,
        "device": "cpu",
        "precision": "fp32",
    }
    return manifest.manifest_start(**{**values, **changes})


@pytest.mark.rule("V2")
def test_the_record_says_what_is_needed_to_do_it_again(tmp_path):
    started = record(argv=["gan", "run", "--plugin", "toy"])
    write_json(tmp_path / "manifest.json", started)
    assert started["command"] == ["gan", "run", "--plugin", "toy"]
    assert started["versions"]["gan-core"] == __version__
    assert started["versions"]["gan-toy"] == "1.0"
    assert started["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "numpy"} <= started["versions"].keys()
    assert started["data"]["skipped"] == {"a.csv": "no numbers"}
    assert started["machine"]["cores"] >= 1
    assert "deterministic_algorithms" in started["determinism"]
    assert (started["seed"], started["ended"], started["exit"]) == (3, None, None)
    ended = manifest.manifest_end(tmp_path / "manifest.json", "finished", 100)
    assert (ended["exit"], ended["samples"]) == ("finished", 100)
    assert ended["ended"] >= started["started"]
    assert {**ended, "ended": None, "exit": None, "samples": 0} == json.loads(json.dumps(started))


@pytest.mark.rule("V3", "R15")
def test_surroundings_name_no_host_and_the_libraries_that_are_asked_for():
    import platform

    found = manifest.surroundings("pytest")
    assert found["threads"] >= 1
    assert found["versions"]["pytest"] == pytest.__version__
    assert found["versions"]["torch"]
    assert platform.node() not in json.dumps(found)


def test_changed_versions_are_named(monkeypatch):
    started = record()
    assert manifest.changes(started, {"gan-toy": "1.0"}) == []
    started["versions"]["torch"] = "1.0"
    assert manifest.changes(started, {"gan-toy": "2.0", "gan-new": "1"})[1:] == [
        "gan-toy 1.0 -> 2.0",
        "gan-new none -> 1",
    ]
    resumed = manifest.manifest_resumed(started, samples=40, distributions={"gan-toy": "1.0"}, argv=["gan", "resume"])
    assert [entry["samples"] for entry in resumed["resumed"]] == [40]
    assert resumed["resumed"][0]["changed"][0].startswith("torch 1.0 -> ")


def test_the_git_state_is_that_of_the_checkout(tmp_path):
    assert manifest.git_state(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "a").write_text("1")
    for arguments in (["init", "-q"], ["add", "a"], ["commit", "-qm", "Start"]):
        subprocess.run([*git, *arguments], check=True)
    clean = manifest.git_state(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["changed"] is False
    (tmp_path / "a").write_text("2")
    assert manifest.git_state(tmp_path) == {**clean, "changed": True}
    assert manifest.git_state(tmp_path / "site-packages") is None


def test_a_record_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        manifest.manifest_end(tmp_path / "manifest.json", "finished", 0)


SECRETS = {
    "HF_TOKEN": "hf_abcdefghijkl",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "WANDB_API_KEY": "0123456789abcdef0123",
    "MY_PASSWORD": "correct horse",
    "HOME": "/home/ada",
}


@pytest.mark.rule("S9")
@pytest.mark.parametrize(
    "argv",
    [
        ["gan", "run", "--data", "https://ada:hunter22@example.org/x"],
        ["gan", "run", "--token", "hunter22"],
        ["gan", "run", "--token=hunter22"],
        ["gan", "run", "--set", "hub.api_key=hunter22"],
        ["gan", "run", "--set", "hub.password: hunter22"],
        ["HF_TOKEN=hunter22", "gan"],
        ["gan", "ghp_hunter22hunter22"],
        ["gan", "--data", "s3://AKIAIOSFODNN7EXAMPLE/hunter22@bucket"],
        ["gan", "--hub", SECRETS["HF_TOKEN"]],
        ["gan", "--x", "url?access_key=hunter22&b=1"],
    ],
)
def test_no_secret_reaches_the_record(argv, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    text = json.dumps(record(argv=argv, recipe={"hub": {"token": "hunter22"}}))
    if argv[1:2] != ["--data"]:
        assert "hunter22" not in text
    for name in SECRETS.keys() - {"HOME"}:
        assert SECRETS[name] not in text
    assert "***" in text


@pytest.mark.rule("S9")
def test_home_folders_are_not_told():
    cleaned = scrub(
        ["/home/ada/data/x.png", "/home/bob/data", "/Users/eve/x", "C:\\Users\\Eve\\x", "/srv/home/x", "/home/ada2/x"],
        {"HOME": "/home/ada"},
    )
    assert cleaned == ["~/data/x.png", "~/data", "~/x", "~\\x", "/srv/home/x", "~/x"]
    assert scrub("/root/x and /rooted", {"HOME": "/root"}) == "~/x and /rooted"


@pytest.mark.rule("S9")
def test_what_is_no_secret_stays():
    values = {
        "recipe": {"model": {"max_tokens": 64, "tokenizer": "bytes", "vocab_size": 3}, "seed": 1},
        "command": ["gan", "run", "--set", "model.tokens=64", "--recipe", "a.yaml"],
        "url": "https://example.org/a?b=c",
        "time": "2026-01-01T00:00:00+00:00",
        "at": "mail@example.org",
    }
    assert scrub(values, {"HOME": "/root"}) == values


@pytest.mark.rule("S9")
@given(st.text(st.characters(categories=["L", "N"]), min_size=6), st.text(), st.text())
def test_the_value_of_a_secret_variable_never_stays(secret, before, after):
    cleaned = scrub({"a": [before + secret + after]}, {"SOME_TOKEN": secret})
    assert secret not in cleaned["a"][0] or secret in "***~"


def test_importing_does_not_import_torch():
    modules = "gan.reporting.manifest, gan.storage.run_folder, gan.storage.durable, gan.storage.download"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
