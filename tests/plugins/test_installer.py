"""Installing from an index: the real pip, wheels that the tests make, no network."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import json
import re
import sys
import threading
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from gan.cli import group
from gan.errors import BadData, UnknownName, UsageError
from gan.plugins import installer

pytestmark = pytest.mark.rule("S6")
MODULE = "from gan.contracts import LossEntry\n"


def make_wheel(
    folder: Path, version: str, text: str = MODULE, package: str = "gan_sketch", requires: str | None = None
) -> str:
    """A wheel of gan-sketch, or of `package`; its sha256."""
    name = f"{package}-{version}"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{package}/__init__.py": text,
        f"{name}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n{needs}",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if package == "gan_sketch":
        files[f"{name}.dist-info/entry_points.txt"] = "[gan]\nsketch = gan_sketch\n"
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
        elif "--report" in command:
            report = {"install": [{
                "metadata": {"name": "Ink.Well", "version": "2.0"},
                "download_info": {"url": "https://x/ink%20well.whl", "archive_info": {"hashes": {"sha256": "ab"}}},
            }]}  # fmt: skip
            Path(command[command.index("--report") + 1]).write_text(json.dumps(report))
            assert command[-2] == "--"
            held = Path(command[command.index("--constraint") + 1]).read_text()
            assert "gan-core==" in held
            assert "torch==" in held
        else:
            assert "--no-deps" in command
            first, second = Path(command[command.index("-r") + 1]).read_text().splitlines()
            assert first == "ink-well==2.0 --hash=sha256:ab"
            assert re.fullmatch(r"/.*/gan_sketch-1.1.0-py3-none-any.whl --hash=sha256:[0-9a-f]{64}", second)
        commands.append(command)
        return installer.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(installer.subprocess, "run", run)
    installer.install(installer.plan(installer.open_index(str(shop())), "sketch"))
    assert [command[:3] for command in commands] == [[sys.executable, "-m", "pip"]] * 3
    assert ["--require-hashes" in command for command in commands] == [True, False, True]
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


# -- requirements, from an index on this machine -----------------------------------------------------------------------


class Packages(http.server.BaseHTTPRequestHandler):
    """A package index: files by project, some of which are others from the second time on that they are asked for."""

    def __init__(self, files, later, asked, *arguments):
        self.files, self.later, self.asked = files, later, asked
        super().__init__(*arguments)

    def do_GET(self):
        name = self.path.strip("/").rpartition("/")[2]
        self.asked[name] += 1
        if name.endswith(".whl"):
            content = self.later[name] if self.asked[name] > 1 and name in self.later else self.files[name]
        else:
            listed = [file for file in self.files if file.partition("-")[0].replace("_", "-") == name]
            content = "".join(f"<a href='/files/{file}'>{file}</a>" for file in listed).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/zip" if name.endswith(".whl") else "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(shop, tmp_path, monkeypatch):
    """gan-sketch 1.1.0 requires inkwell; a server offers both. Returns (files, later, index of plugins)."""
    sha256 = make_wheel(tmp_path / "served", "1.1.0", requires="inkwell>=1")
    make_wheel(tmp_path / "served", "2.0", "GOOD = 1\n", "inkwell")
    make_wheel(tmp_path / "evil", "2.0", "EVIL = 1\n", "inkwell")
    files = {path.name: path.read_bytes() for path in (tmp_path / "served").iterdir()}
    later: dict[str, bytes] = {}
    asked = Counter()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Packages, files, later, asked))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    yield files, later, shop(**{"1.1.0": sha256})
    server.shutdown()
    server.server_close()


INKWELL = "inkwell-2.0-py3-none-any.whl"


def listing(index: Path, sha256: str) -> Path:
    """The index with the wheel of inkwell listed under `requires`."""
    text = index.read_text()
    end = "}]}\n"
    at = text.index(end, text.index("version: 1.1.0")) + 2
    index.write_text(f"{text[:at]}, requires: [{{file: {INKWELL}, sha256: {sha256}}}]{text[at:]}")
    return index


def test_requirements_are_installed_by_the_hash_that_was_found(served, shop):
    files, _, index = served
    result = CliRunner().invoke(group, ["plugins", "install", "sketch", "--index", str(index)])
    assert result.exit_code == 0, result.output
    assert f"installed inkwell==2.0\n    sha256 {hashlib.sha256(files[INKWELL]).hexdigest()}" in result.output
    assert (shop.target / "inkwell" / "__init__.py").read_text() == "GOOD = 1\n"
    assert (shop.target / "gan_sketch" / "__init__.py").is_file()


def test_a_requirement_that_changes_after_it_was_resolved_is_not_installed(served, shop, tmp_path):
    _, later, index = served
    later[INKWELL] = (tmp_path / "evil" / INKWELL).read_bytes()
    with pytest.raises(BadData, match="nothing was installed"):
        installer.install(installer.plan(installer.open_index(str(index)), "sketch"))
    assert not shop.target.exists()


def test_only_listed_requirements_are_installed(served, shop, tmp_path):
    files, _, index = served
    good = hashlib.sha256(files[INKWELL]).hexdigest()
    plan = installer.plan(installer.open_index(str(listing(index, good))), "sketch")
    assert f"may install {INKWELL}\n    sha256 {good}" in plan.describe()
    files[INKWELL] = (tmp_path / "evil" / INKWELL).read_bytes()
    with pytest.raises(BadData, match=rf"{INKWELL}: gan-sketch==1.1.0 would install it with sha256 .* does not list"):
        installer.install(plan)
    assert not shop.target.exists()
