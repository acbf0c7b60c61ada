"""Makes a model of this zoo again: trains its recipe, packs it, and prints where it is.

    python -m gan_zoo.make chorales [--run runs/zoo-chorales] [--out FOLDER]

The recipe is that of the model, ``models/NAME/recipe.yaml``, so that later changes of a plugin's default recipe do not
matter. A run that is there already is continued, or packed as it is. Both commands that are run are printed.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import gan_zoo

MODELS = Path(gan_zoo.__file__).parent / "models"


def make(name: str, run: Path, out: Path) -> None:
    """Train (or continue) the run of the model `name`, and pack it into `out`, in place of an older one."""
    (entry,) = [found for found in gan_zoo.gan_models() if found.name == name]
    _gan("run", "--recipe", str(MODELS / name / "recipe.yaml"), "--out", str(run), "--or-resume")
    shutil.rmtree(out / name, ignore_errors=True)
    about = ("--licence", entry.licence, "--command", entry.command)
    _gan("zoo", "pack", str(run), "--out", str(out), "--name", name, *about)


def _gan(*words: str) -> None:
    print("gan", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "gan", *words], check=True)


def main() -> None:
    """Make the models that the command line names; all if it names none."""
    known = [entry.name for entry in gan_zoo.gan_models()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(known)}; default: all")
    parser.add_argument("--run", type=Path, help="the run folder; default: runs/zoo-NAME")
    parser.add_argument("--out", type=Path, default=MODELS, help="the folder of models; default: that of this package")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(known)
    if unknown:
        parser.error(f"no model named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name in arguments.names or known:
        make(name, arguments.run or Path("runs") / f"zoo-{name}", arguments.out)


if __name__ == "__main__":
    main()
