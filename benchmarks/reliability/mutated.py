"""500 mutated run folders and 500 mutated recipes, each with a command of `gan`: exit codes, computing time, memory.

    python benchmarks/reliability/mutated.py

The cases are those of the slow tests, which fail on a traceback, on more than 10 s of computing time or 1 GB of memory
beyond what was imported before, on a change outside the folder, and on control characters in what is said.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from gan.reporting.manifest import surroundings

HERE = Path(__file__).parent
TESTS = [
    "tests/faults/test_side_files.py::test_500_mutated_run_folders",
    "tests/fuzz/test_fuzz_recipes.py::test_500_mutated_recipes_on_the_command_line",
]


def main() -> int:
    """Run the tests and write mutated.json."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", "--timeout", "0", f"--junitxml={report}", *TESTS]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        code = subprocess.run(command, cwd=HERE.parents[1], env=environment, check=False).returncode
        # trusted input: the report of the command above
        for entry in ET.parse(report).getroot().iter("property"):
            found[entry.get("name", "")] = json.loads(entry.get("value", "null"))
    (HERE / "mutated.json").write_text(json.dumps({**found, "machine": surroundings()}, indent=1) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
