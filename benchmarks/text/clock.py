"""A reporter that measures the CPU seconds of a training run across interruptions."""

from __future__ import annotations

import time

from gan.reporting.reporter import Reporter


class Clock(Reporter):
    """Prints ticks and stores the total CPU seconds of a training run, over all of its processes, in a file."""

    def __init__(self, file):
        self.file = file
        self.before = float(file.read_text()) if file.exists() else 0.0
        self.began = time.process_time()

    def tick(self, tick):
        self.file.write_text(str(self.before + time.process_time() - self.began))
        terms = {name: round(value, 3) for name, value in tick.terms.items()}
        print(tick.phase, tick.samples, terms, f"{tick.seconds:.0f} s", flush=True)
