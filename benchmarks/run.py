"""Run the benchmarks one after another: ``python benchmarks/run.py [NAME …]``; a name is part of a script's path.

Each script records its result as a JSON file beside it. Together they take some hours.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main(names: list[str]) -> int:
    root = Path(__file__).parent
    scripts = [path for path in sorted(root.glob("*/*.py")) if "__main__" in path.read_text(encoding="utf-8")]
    chosen = [path for path in scripts if not names or any(name in path.relative_to(root).as_posix() for name in names)]
    if not chosen:
        print(f"no benchmark of that name; there are {', '.join(p.relative_to(root).as_posix() for p in scripts)}")
        return 2
    failed = []
    for path in chosen:
        print(f"== {path.relative_to(root)}", flush=True)
        if subprocess.run([sys.executable, str(path)], check=False).returncode:
            failed.append(path.relative_to(root).as_posix())
    for name in failed:
        print(f"failed: {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
