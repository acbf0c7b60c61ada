"""Generate docs/reliability.md: every reliability rule, the tests that verify it, and their last outcomes.

    python -m pytest -m "slow or not slow" --junitxml results.xml
    python docs/make_reliability.py results.xml

The tests are those marked ``@pytest.mark.rule("R1")``, found by parsing their source, so the page cannot name a test
that does not exist; `tests/test_reliability_page.py` fails if a marker has changed and the page has not. Outcomes are
added to docs/reliability.json, so that several partial runs make one record.
"""

from __future__ import annotations

import ast
import json
import platform
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
RECORD = ROOT / "docs" / "reliability.json"

RULES = {
    "Crash and resume": {
        "R1": "killed at random times and resumed: weights, averages and records are identical, no files are left over",
        "R2": "killed at every write, rename, unlink and mkdir of the run folder",
        "R3": "power cut: everything reported as saved exists, even if all unsynced data are lost",
        "R4": "SIGTERM: the step ends, the state is saved, exit 75; the resumed run is identical",
        "R5": "SIGTERM and SIGINT while saving, and a second one",
        "R6": "every stateful object is in the checkpoint; a missing or additional one is refused by name",
        "R7": "the pool of past pictures and ADA's probability survive a resume",
        "R8": "resumed in the middle of an epoch: each sample is used once, in the same order",
        "R9": "sampling, evaluating and saving more often changes no weight",
        "R10": "resuming a finished run changes nothing",
        "R11": "a damaged newest checkpoint is named and the previous one is used",
        "R12": "pruning never removes the last valid checkpoint; a failed deletion only warns",
        "R13": "generator, discriminator and averages are saved and loaded together",
        "R14": "two processes on one run folder: one refuses with 7; a killed one's lock does not block",
        "R15": "changed recipe, data or plugin version: refused with the differences; `--force` continues",
        "R16": "checkpoints of other formats load, or name the release that they need",
        "R17": "a killed worker process is reported and nothing hangs (training has none; creating a dataset may)",
        "R18": "torchrun: one of two processes is killed, the run restarts and ends the same",
    },
    "Disk and memory": {
        "D1": "no space from any system call on: exit 6 with path and reason; short writes are completed",
        "D2": "a failed save is never reported as saved",
        "D3": "a limit on file sizes is treated as a full disk and does not kill the process",
        "D4": "files obey the umask",
        "D5": "out of memory: smaller parts of a batch with the same result, or exit 5 with advice",
        "D6": "large sources stay within memory",
    },
    "Numbers": {
        "N1": "a loss or gradient that is not finite never reaches the weights; who failed is named with the plugin",
        "N2": "weights that are not finite are never checkpointed",
        "N3": "a permanent failure stops with exit 5 and names the cause; a collapsed player is reported by name",
        "N4": "records are strict JSON, one per tick after any number of resumes",
    },
    "Bad data": {
        "I1": "damaged and odd pictures",
        "I2": "decompression bombs",
        "I3": "damaged MIDI",
        "I4": "music that a parser would drop silently",
        "I5": "endless and overlong music",
        "I6": "damaged audio",
        "I7": "damaged text",
        "I8": "nothing usable, or too little: exit 3 with counts",
        "I9": "bad files among good ones are listed with reasons, identically on resume",
        "I10": "mixed channels, sizes and rates",
        "I11": "pipes, sockets, devices, circular links",
        "I12": "archives: path traversal, links, duplicates, bombs, 70,000 members",
        "I13": "files that vanish, shrink or are replaced",
    },
    "Security": {
        "S1": "hostile checkpoints run no code and are named",
        "S2": "no pickle, eval, unsafe YAML, extractall or shell in the source",
        "S3": "names in recipes and checkpoints can only select installed entries",
        "S4": "only dense tensors with the expected names, shapes and dtypes are loaded",
        "S5": "hostile plugin indexes",
        "S6": "installing from the index: exact version, hash, no shell; what a plugin requires by its hash as well",
        "S7": "downloads: https, size, sha256, redirects, no private addresses",
        "S8": "the web page",
        "S9": "no secrets in records",
    },
    "Plugins": {
        "P1": "broken plugins beside healthy ones",
        "P2": "help and listings run no code of a plugin",
        "P3": "duplicates and wrong versions are refused with both names",
        "P4": "plugins can be switched off",
        "P5": "an installed, unused plugin changes no result",
        "P6": "an error of a plugin during training is reported with its position",
    },
    "Provenance": {
        "V1": "the environment (hash seed, locale, time zone, folder, umask, home) does not change the result",
        "V2": "the record of a run is complete",
        "V3": "a run can be repeated from its folder alone, with a warning if versions differ",
        "V4": "a generated file that was changed, swapped, removed or signed by another key, a manifest of another "
        "folder, of a gigabyte or with a path that climbs out: each is named, and told from a file never labelled",
        "V5": "every written file says that it was generated, and by what; equal commands write equal bytes; off means "
        "said",
        "V6": "the p-value of a mark is a bound for any file, drawings and copies included",
    },
    "Sealed": {
        "L1": "data, packs and datasets that changed at equal size and time are noticed, and made anew or refused",
        "L2": "containers that share a cache do not delete each other's work, whatever their process numbers",
        "L3": "a damaged, replaced or endless side file of a run is refused by name before training, or made anew",
        "L4": "a foreign run folder or recipe: no network without the user's word, no unpickling, no link followed "
        "out of it, nothing outside touched, no escape sequence on the terminal",
        "L5": "every key of every recipe and every option with twenty bad values: one line and 2, never a traceback",
        "L6": "parsers of other people run bounded in time and memory, for data, surveys, inputs, evaluated files and "
        "pages; their death is one skipped file",
        "L7": "of two starts on one folder one trains; a repeated command starts, goes on or is done (`--or-resume`)",
        "L8": "`gan verify` and `gan data verify` name every damaged file",
        "L9": "a script that uses the Python API needs no `__main__` guard; sounds are the same bytes twice, Ogg's too",
        "L10": "under torchrun the user's one line is the first and the last one; ranks that did not fail end "
        "quietly; a long evaluation by one process is waited for",
    },
}

NOTHING_YET = {
    "S8": "not applicable: there is no web page",
}
"""Rules whose subject does not exist; `tests/test_reliability_page.py` checks that."""


MUTATED = ROOT / "benchmarks" / "reliability" / "mutated.json"
BY_BENCHMARK = {
    "tests/faults/test_side_files.py::test_500_mutated_run_folders": "mutated run folders",
    "tests/fuzz/test_fuzz_recipes.py::test_500_mutated_recipes_on_the_command_line": "mutated recipes",
}
"""Tests that `benchmarks/reliability/mutated.py` runs and records, with their entries in `MUTATED`."""


def marked() -> dict[str, list[tuple[str, str, bool]]]:
    """Return rule -> (file, test, slow) of every test marked with it."""
    found: dict[str, list[tuple[str, str, bool]]] = {}
    files = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("plugins/*/tests/**/test_*.py")]
    for path in sorted(files):
        name = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        everywhere: list[str] = []
        for node in tree.body:
            if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "pytestmark" for t in node.targets):
                everywhere += [rule for mark in ast.walk(node.value) for rule in _rules(mark)]
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                rules = [rule for mark in node.decorator_list for rule in _rules(mark)]
                slow = any("mark.slow" in ast.unparse(mark) for mark in node.decorator_list)
                for rule in dict.fromkeys([*everywhere, *rules]):
                    found.setdefault(rule, []).append((name, node.name, slow))
    return found


def _rules(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.rule":
        yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


def outcomes(*reports: Path) -> dict[str, dict[str, int]]:
    """Return ``file::test`` -> outcome -> number of cases, from JUnit reports; the last outcome of a case counts."""
    cases: dict[str, dict[str, str]] = {}
    for report in reports:
        # trusted input: reports of pytest runs on this machine
        for case in ET.parse(report).getroot().iter("testcase"):
            file = case.get("classname", "").replace(".", "/") + ".py"
            test, _, which = case.get("name", "").partition("[")
            kinds = {child.tag for child in case}
            outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            cases.setdefault(f"{file}::{test}", {})[which] = outcome
    return {name: dict(Counter(found.values())) for name, found in cases.items()}


def page(record: Mapping[str, Any]) -> str:
    """Return the text of the page."""
    tests = marked()
    unknown = sorted(tests.keys() - {rule for rules in RULES.values() for rule in rules})
    if unknown:
        raise SystemExit(f"tests are marked with rules that do not exist: {', '.join(unknown)}")
    lines = [
        "# Reliability: rules, tests, outcomes",
        "",
        "Generated by `python docs/make_reliability.py` from the markers of the tests; do not edit. The docstrings of "
        "the modules of `gan.storage`, of `gan.training.recovery`, `gan.runtime.signals`, `gan.source` and "
        "`gan.reporting.manifest` explain how the rules are implemented. Faults are injected by "
        "`tests/support/fault_injection.py`. `benchmarks/reliability/mutated.py` records the exit codes, times "
        "and memory of 500 mutated run folders and 500 mutated recipes.",
        "",
        "Exit codes: 0 done, 2 usage, 3 bad data, 4 checkpoint damaged, incompatible or untrusted, 5 values that are "
        "not finite or out of memory, 6 disk, 7 run folder in use, 75 saved and stopped by a signal.",
        "",
    ]
    if record:
        lines += [f"Outcomes: {record['versions']}. *slow* tests are those of `make test-all`.", ""]
    for chapter, rules in RULES.items():
        lines += [f"## {chapter}", "", "| rule | guarantee | tests | outcome |", "|---|---|---|---|"]
        for rule, promise in rules.items():
            lines.append(
                f"| {rule} | {promise} | {_tests(tests.get(rule, []))} "
                f"| {NOTHING_YET.get(rule) or _outcome(tests.get(rule, []), record)} |"
            )
        lines.append("")
    return "\n".join(lines)


def _tests(tests: list[tuple[str, str, bool]]) -> str:
    by_file: dict[str, list[str]] = {}
    for file, test, slow in tests:
        by_file.setdefault(file, []).append(test.removeprefix("test_") + (" *slow*" if slow else ""))
    return "<br>".join(f"`{file}`: {', '.join(names)}" for file, names in by_file.items()) or "none"


def _outcome(tests: list[tuple[str, str, bool]], record: Mapping[str, Any]) -> str:
    known = record.get("tests", {})
    total: dict[str, int] = {}
    for file, test, _ in tests:
        for outcome, count in known.get(f"{file}::{test}", {"not yet run": 1}).items():
            total[outcome] = total.get(outcome, 0) + count
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(total.items()))


def main() -> None:
    """Add the outcomes of the given reports and write the page."""
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    if len(sys.argv) > 1:
        import torch

        known = record.setdefault("tests", {})
        known.update(outcomes(*map(Path, sys.argv[1:])))
        pairs = {f"{file}::{test}" for tests in marked().values() for file, test, _ in tests}
        record["tests"] = {name: known[name] for name in sorted(pairs & known.keys())}
        record["versions"] = f"Python {platform.python_version()}, torch {torch.__version__}, {platform.system()}"
        recorded = json.loads(MUTATED.read_text(encoding="utf-8"))
        for name, entry in BY_BENCHMARK.items():
            outcome = "failed" if recorded[entry]["failures"] else "passed"
            record["tests"].setdefault(name, {outcome: 1})
        record["tests"] = dict(sorted(record["tests"].items()))
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(record), encoding="utf-8")


if __name__ == "__main__":
    main()
