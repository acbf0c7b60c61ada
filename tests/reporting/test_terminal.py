"""The line that shows a training on a terminal, and the plain lines elsewhere."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from gan.cli.progress import number_lines
from gan.contracts import MetricValue
from gan.reporting.reporter import Pace, Progress, Reporter, Several, Tick
from gan.reporting.terminal import (
    LiveReporter,
    PlainReporter,
    about,
    can_move,
    in_notebook,
    progress_line,
    two_losses,
)
from rich.console import Console

FAR = Progress(samples=42_000, total=100_000, seconds=34.0, rate=12_345.0)
LOSSES = [("generator", 1234.5), ("discriminator", 0.00123)]
TICK = Tick(42_000, 100_000, "adversarial", {"generator/loss": 0.7, "discriminator/loss": 1.4}, 34.0, 1234.0, 0, False)


@pytest.mark.parametrize("width", range(60, 141))
def test_from_60_columns_up_percent_rate_time_left_and_two_losses_are_readable(width):
    line = progress_line(FAR, LOSSES, width, step="adversarial")
    assert len(line) <= width
    for text in ("42 %", "12,345/s", "0:04 left", "1.23e+03", "0.00123"):
        assert text in line, line


def test_more_room_shows_whole_names_and_a_bar():
    assert "━" in progress_line(FAR, LOSSES, 80)
    assert "gen 1.23e+03" in progress_line(FAR, LOSSES, 60)
    wide = progress_line(FAR, LOSSES, 120, step="adversarial")
    assert "generator 1.23e+03  discriminator 0.00123" in wide
    assert wide.endswith("adversarial")
    assert "#" in progress_line(FAR, LOSSES, 120, ascii_only=True)
    assert progress_line(FAR, LOSSES, 120, ascii_only=True).isascii()


def test_the_longest_line_fits_in_60_columns():
    """100 %, a rate of five digits, hours left, losses in scientific notation."""
    long = Progress(99_999_999, 10**10, 1.0, 99_999.0, minutes=None)
    assert len(progress_line(long, [("generator", -1.23e-10), ("discriminator", -1.23e10)], 60)) <= 60


def test_something_moves_before_the_first_tick():
    lines = {progress_line(None, [], 60, step="reading files: 3 of 40", moment=moment / 8) for moment in range(8)}
    assert len(lines) == 8
    assert all("reading files: 3 of 40" in line for line in lines)


def test_players_whose_names_begin_alike_are_told_apart():
    line = progress_line(FAR, [("generator_ab", 1.0), ("generator_ba", 2.0)], 60)
    assert "ge1 1" in line
    assert "ge2 2" in line


def test_two_losses_are_those_of_two_players():
    terms = {"generator/loss": 1.0, "generator/l1": 2.0, "discriminator/loss": 3.0, "discriminator/_accuracy": 0.5}
    assert two_losses(terms) == [("generator", 1.0), ("discriminator", 3.0)]
    assert two_losses({"generator/loss": 1.0, "generator/l1": 2.0}) == [("generator", 1.0), ("l1", 2.0)]


def test_the_time_left_honours_the_limit():
    """58,000 samples at 10 a second are 5,800 seconds; five minutes are over after 300."""
    unlimited = Progress(42_000, 100_000, 60.0, 10.0)
    limited = Progress(42_000, 100_000, 60.0, 10.0, minutes=5)
    assert unlimited.left == pytest.approx(5800)
    assert limited.left == pytest.approx(240)
    assert unlimited.share == pytest.approx(0.42)
    assert Progress(1_000, 100_000, 150.0, 10.0, minutes=5).share == pytest.approx(0.5)
    assert Progress(1, 10, 0.0, 0.0).left == math.inf


def test_the_pace_is_that_of_the_last_half_minute(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("gan.reporting.reporter.time.monotonic", lambda: now[0])
    pace = Pace(0, 10_000, seconds=7.0)
    for second in range(1, 61):
        now[0] = 100.0 + second
        found = pace.at(10 * second if second <= 30 else 300 + 100 * (second - 30))
    assert found.rate == pytest.approx(100, rel=0.05)
    assert found.seconds == pytest.approx(67)
    now[0] += 10
    assert pace.at(50).rate == 0.0, "the training returned to a checkpoint"
    now[0] += 10
    assert pace.at(150).rate == pytest.approx(10)


def test_without_a_terminal_an_estimate_comes_within_seconds(capsys):
    reporter = PlainReporter()
    run = Path("runs/x")
    reporter.started(run, "toy/mlp", 0, 100_000)
    for seconds in (0.1, 1.0, 3.5, 4.0):
        reporter.moved(Progress(int(1000 * seconds), 100_000, seconds, 1000.0, minutes=1))
    reporter.tick(TICK)
    reporter.preview(run / "previews" / "samples-0.png")
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "about 56 seconds to the end, at 1,000 samples a second; it ends after 1 minutes at the latest"
    assert lines[2].startswith("adversarial  42,000/100,000 samples  7 %")
    assert lines[3] == "preview  runs/x/previews/samples-0.png"
    assert len(lines) == 4


@pytest.mark.parametrize(("seconds", "text"), [(40, "40 seconds"), (720, "12 minutes"), (12_600, "3.5 hours")])
def test_durations_in_words(seconds, text):
    assert about(seconds) == f"about {text}"


def test_a_path_has_a_line_of_its_own_and_is_not_cut(tmp_path):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=60, markup=False, highlight=False, color_system=None)
    reporter = LiveReporter(console)
    try:
        reporter.started(tmp_path / "run", "toy/mlp", 0, 1000)
        reporter.moved(FAR)
        reporter.tick(TICK)
        path = tmp_path / ("long" * 20) / "samples-000042000.png"
        reporter.preview(path)
    finally:
        reporter.close()
    assert f"preview  {path}" in stream.getvalue()


ROWS = [
    ["SWD", "178.4", "↓", "232.8", "distance of small patches at all scales from real ones; 0: the same"],
    ["MS-SSIM", "0.9669 ± 0.0014", "→ 0.1976", "0.9981", "how alike two images of a set are"],
    ["precision[raw]", "0 ± 0", "↑", "0", ""],
]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_numbers_fit_and_are_explained_beside_or_below(width):
    lines = list(number_lines(ROWS, width))
    assert max(map(len, lines)) <= width
    assert lines[0].endswith("what it says" if width == 120 else "before")
    assert "SWD 178.4 ↓ 232.8 distance of small patches at all scales" in " ".join(" ".join(lines).split())
    assert "MS-SSIM         0.9669 ± 0.0014  → 0.1976  0.9981" in "\n".join(lines)
    assert len(lines) <= 7


def test_several_reporters_hear_everything():
    heard = []

    class Listening(Reporter):
        def measured(self, samples, values, best):
            heard.append((samples, values, best))

    Several([Listening(), Listening()]).measured(5, [MetricValue("FID", 1.0)], best=True)
    assert heard == [(5, [MetricValue("FID", 1.0)], True)] * 2


class ZMQInteractiveShell:
    """Named as the shell of a notebook's kernel."""


@pytest.mark.parametrize(("widgets", "moves"), [(object(), True), (None, False)])
def test_in_a_notebook_a_line_moves_where_it_can(monkeypatch, widgets, moves):
    monkeypatch.setattr("gan.reporting.terminal.importlib.util.find_spec", lambda name: widgets)
    assert not can_move(), "the tests are no terminal"
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=ZMQInteractiveShell))
    assert in_notebook()
    assert can_move() == moves
