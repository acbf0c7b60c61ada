"""Build a release: wheels of the core and of every plugin, checked, with the public index and the release notes.

    python tools/release.py [--out dist] [--check]

Writes wheels and source distributions to the folder `dist`, runs ``twine check --strict`` on them, adds versions and
sha256 of the wheels to ``registry.yaml`` there (a copy, to be committed after the upload), and writes ``NOTES.md``: the
section *Unreleased* of CHANGELOG.md. With ``--check``, an existing folder is compared with its registry instead.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
MARK = "plugins:\n"
"""Ends the head of registry.yaml, whose comments are kept."""


def about(project: Path) -> dict[str, Any]:
    """The table ``project`` of a pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def wheel_of(name: str, version: str, folder: Path) -> Path:
    """The wheel of a distribution. Raises `FileNotFoundError`."""
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    if not path.is_file():
        raise FileNotFoundError(path)
    return path


def registry(text: str, folder: Path) -> str:
    """``registry.yaml`` with the wheels in `folder` as versions of their plugins; its version rises by one."""
    head, _, _ = text.partition(MARK)
    values = yaml.safe_load(text)
    listed = {plugin["distribution"]: plugin for plugin in values["plugins"]}
    for project in PROJECTS[1:]:
        table = about(project)
        plugin = listed[table["name"]]
        wheel = wheel_of(table["name"], table["version"], folder)
        (core,) = (need.removeprefix("gan-core") for need in table["dependencies"] if need.startswith("gan-core"))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        release = {"version": table["version"], "core": core, "wheels": [{"file": wheel.name, "sha256": digest}]}
        others = [found for found in plugin["versions"] if found["version"] != table["version"]]
        plugin["versions"] = [release, *others]
    head = re.sub(r"^version: (\d+)$", lambda match: f"version: {int(match[1]) + 1}", head, flags=re.MULTILINE)
    body = yaml.safe_dump({"plugins": values["plugins"]}, sort_keys=False, allow_unicode=True, width=100)
    return head + body


def notes(changelog: str, version: str) -> str:
    """The section *Unreleased* of the change log, under the version that is released."""
    found = re.search(r"^## Unreleased\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError("CHANGELOG.md has no section Unreleased")
    return f"# gan {version}\n\n{found[1].strip()}\n"


def main() -> None:
    """Build and check everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="the folder; default: dist")
    parser.add_argument("--check", action="store_true", help="compare the folder's wheels with its registry.yaml")
    arguments = parser.parse_args()
    folder: Path = arguments.out
    if arguments.check:
        wheels = {
            wheel["file"]: wheel["sha256"]
            for plugin in yaml.safe_load((folder / "registry.yaml").read_text(encoding="utf-8"))["plugins"]
            for release in plugin["versions"][:1]
            for wheel in release["wheels"]
        }
        wrong = [n for n, known in wheels.items() if hashlib.sha256((folder / n).read_bytes()).hexdigest() != known]
        sys.exit(f"not the wheels of registry.yaml: {', '.join(wrong)}" if wrong else 0)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("gan_*"):
        old.unlink()
    for project in PROJECTS:
        print(f"building {about(project)['name']} {about(project)['version']}", flush=True)
        _run("build", "--no-isolation", "--outdir", str(folder), str(project))
    _run("twine", "check", "--strict", *map(str, sorted(folder.glob("gan_*"))))
    text = (ROOT / "registry.yaml").read_text(encoding="utf-8")
    (folder / "registry.yaml").write_text(registry(text, folder), encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (folder / "NOTES.md").write_text(notes(changelog, about(ROOT)["version"]), encoding="utf-8")
    print(f"{len(list(folder.glob('*.whl')))} wheels, registry.yaml and NOTES.md in {folder}")


def _run(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])


if __name__ == "__main__":
    main()
