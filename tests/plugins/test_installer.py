"""Installing from an index: the real pip, wheels that the tests make, no network."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from gan.cli import group
from gan.errors import BadData, UnknownName, UsageError
from gan.plugins import installer

pytestmark = pytest.mark.rule("S6")
MODULE = "from gan.contracts import LossEntry\n"


def make_wheel(folder: Path, version: str, text: str = MODULE) -> str:
    """A wheel of gan-sketch; its sha256."""
    name = f"gan_sketch-{version}"
    files = {
        "gan_sketch/__init__.py": text,
        f"{name}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: gan-sketch\nVersion: {version}\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}.dist-info/entry_points.txt": "[gan]\nsketch = gan_sketch\n",
    }
    rows = []
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).decode().rstrip("=")
            rows.append(f"{file},sha256={digest},{len(content)}")
            wheel.writestr(file, content)
        wheel.writestr(f"{name}.dist-info/RECORD", "\n".join([*rows, f"{name}.dist-info/RECORD,,"]) + "\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """An index file and its wheels; pip installs into a folder of the test and knows no other index."""
    wheels, target = tmp_path / "wheels", tmp_path / "target"
    hashes = {version: make_wheel(wheels, version) for version in ("1.0.0", "1.1.0", "2.0.0")}
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_TARGET", str(target))
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GAN_REGISTRY", raising=False)

    def index(number: int = 1, **changed: str) -> Path:
        releases = "".join(
            f"      - {{version: {version}, core: '{'>=98,<99' if version == '2.0.0' else '>=0.1,<9'}', "
            f"wheels: [{{file: gan_sketch-{version}-py3-none-any.whl, sha256: {changed.get(version, sha256)}}}]}}\n"
            for version, sha256 in hashes.items()
        )
        path = tmp_path / "index.yaml"
        path.write_text(
            f"format: 1\nversion: {number}\nexpires: 2099-01-01\nplugins:\n"
            "  - name: sketch\n    distribution: gan-sketch\n    summary: Pen strokes\n    modalities: [drawing]\n"
            f"    licence: MIT\n    weights: none\n    versions:\n{releases}"
            "  - {name: clay, distribution: gan-clay, summary: Pots, modalities: [], licence: MIT, weights: none, "
            "versions: []}\n"
        )
        return path

    index.target = target
    return index


def test_the_newest_that_fits_is_planned(shop):
    index = installer.open_index(str(shop()))
    assert installer.plan(index, "sketch").requirement == "gan-sketch==1.1.0"
    assert installer.plan(index, "gan-sketch", "1.0.0").requirement == "gan-sketch==1.0.0"


@pytest.mark.parametrize(
    ("name", "version", "error", "reason"),
    [
        ("skatch", None, UnknownName, "did you mean 'sketch'"),
        ("clay", None, UsageError, "no version of it has been published"),
        ("sketch", "3.0", UsageError, "has no version 3.0 in the index"),
        ("sketch", "2.0.0", UsageError, "needs gan-core>=98,<99"),
    ],
)
def test_what_cannot_be_installed_says_why(shop, name, version, error, reason):
    with pytest.raises(error, match=reason):
        installer.plan(installer.open_index(str(shop())), name, version)


def test_a_plugin_is_installed_from_its_wheel(shop):
    result = CliRunner().invoke(group, ["plugins", "install", "sketch", "--index", str(shop())])
    assert result.exit_code == 0, result.output
    assert "gan-sketch==1.1.0" in result.output
    assert "sha256" in result.output
    assert (shop.target / "gan_sketch" / "__init__.py").read_text() == MODULE
    assert (shop.target / "gan_sketch-1.1.0.dist-info").is_dir()


def test_a_wrong_hash_installs_nothing(shop):
    path = shop(**{"1.1.0": "0" * 64})
    with pytest.raises(BadData, match=r"sha256 of the published file is not .* nothing was installed"):
        installer.install(installer.plan(installer.open_index(str(path)), "sketch"))
    assert not shop.target.exists()


def test_a_file_that_is_not_there_is_told_in_a_line(shop, tmp_path):
    for wheel in (tmp_path / "wheels").glob("*1.1.0*"):
        wheel.unlink()
    with pytest.raises(UsageError, match="could not be fetched") as caught:
        installer.install(installer.plan(installer.open_index(str(shop())), "sketch"))
    assert "\n" not in str(caught.value)


def test_a_dry_run_does_nothing(shop, monkeypatch):
    monkeypatch.setattr(installer.subprocess, "run", lambda *a, **k: pytest.fail("pip was run"))
    result = CliRunner().invoke(group, ["plugins", "install", "sketch", "--dry-run", "--index", str(shop())])
    assert result.exit_code == 0
    assert "gan-sketch==1.1.0" in result.output


def test_pip_gets_arguments_that_can_be_no_options(shop, monkeypatch):
    """Of this interpreter, as a list, wheels only, every hash, the wheel after ``--``, the core and torch held."""
    commands = []

    def run(command, **options):
        assert isinstance(command, list)
        assert not options.get("shell")
        if "download" in command:
            line = Path(command[command.index("-r") + 1]).read_text()
            assert line.startswith("gan-sketch==1.1.0 --hash=sha256:")
            target = Path(command[command.index("--dest") + 1])
            make_wheel(target, "1.1.0")
        else:
            assert command[-2] == "--"
            held = Path(command[command.index("--constraint") + 1]).read_text()
            assert "gan-core==" in held
            assert "torch==" in held
        commands.append(command)
        return installer.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(installer.subprocess, "run", run)
    installer.install(installer.plan(installer.open_index(str(shop())), "sketch"))
    assert [command[:3] for command in commands] == [[sys.executable, "-m", "pip"]] * 2
    assert "--require-hashes" in commands[0]
    assert all("--only-binary=:all:" in command for command in commands)


def test_an_older_index_of_the_same_place_is_refused(shop):
    installer.open_index(str(shop(5)))
    with pytest.raises(BadData, match="version 4 is older than 5"):
        installer.open_index(str(shop(4)))
    assert installer.open_index(str(shop(6))).version == 6


def test_the_variable_names_an_index(shop, monkeypatch):
    monkeypatch.setenv("GAN_REGISTRY", str(shop()))
    result = CliRunner().invoke(group, ["plugins", "search", "pen", "drawing", "--json"])
    assert [plugin["name"] for plugin in json.loads(result.output)] == ["sketch"]
    monkeypatch.delenv("GAN_REGISTRY")
    assert "gan-music" in CliRunner().invoke(group, ["plugins", "search", "music"]).output


@pytest.mark.parametrize("place", ["http://example.org/i.yaml", "file:///etc/passwd", "https://127.0.0.1/i.yaml"])
def test_an_index_is_fetched_over_https_from_public_hosts_only(shop, place):
    with pytest.raises(BadData, match="only https|not public"):
        installer.open_index(place)


def test_an_environment_without_pip_is_explained(shop, monkeypatch, tmp_path):
    monkeypatch.setattr(installer.sys, "prefix", str(tmp_path))
    (tmp_path / "pyvenv.cfg").write_text("home = /usr\nuv = 0.5\n")
    monkeypatch.setattr(installer.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="uv pip install gan-sketch==1.1.0"):
        installer.install(installer.plan(installer.open_index(str(shop())), "sketch"))
    (tmp_path / "pipx_metadata.json").touch()
    with pytest.raises(UsageError, match=r"pipx inject .* gan-sketch==1\.1\.0"):
        installer.install(installer.plan(installer.open_index(str(shop())), "sketch"))


def test_the_core_is_not_uninstalled(shop):
    from gan.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["plugins", "uninstall", "builtin"])
    assert stopped.value.code == 2
