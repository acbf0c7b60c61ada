"""Trackers: reporters that pass a training on to TensorBoard, Weights & Biases, MLflow or trackio.

``gan run --track tensorboard`` selects one; the hook `gan_trackers` adds others. None is a dependency: a tracker whose
package is missing says what to install.
"""

from __future__ import annotations

import math
import wave
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from gan.contracts import MetricValue
from gan.errors import UsageError
from gan.reporting.reporter import Reporter, Tick
from gan.reporting.side_files import read_recipe
from gan.storage.run_folder import REAL_PREVIEW, RunFolder

SHOWN = 4
"""Sounds and texts that are passed on at the end."""


class Tracker(Reporter):
    """Passes scalars, pictures, texts and sounds on; a subclass overrides `begin` and what its service can show."""

    def __init__(self) -> None:
        self._samples = 0

    def begin(self, run: RunFolder, recipe: Mapping[str, Any]) -> None:
        """The training of `run` starts or goes on."""

    def scalars(self, samples: int, values: Mapping[str, float]) -> None:
        """Numbers after so many real samples."""

    def picture(self, samples: int, name: str, path: Path) -> None:
        """A PNG file."""

    def text(self, samples: int, name: str, text: str) -> None:
        """A text."""

    def sound(self, samples: int, name: str, sound: np.ndarray[Any, Any], rate: int) -> None:
        """A sound ``(n,)``, -1 … 1, with its samples per second."""

    def end(self) -> None:
        """Nothing more comes."""

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        """Begin with the recipe of the run."""
        folder = RunFolder(run)
        self._samples = samples
        self.begin(folder, read_recipe(folder))
        self.picture(samples, "real samples", folder.previews / REAL_PREVIEW)

    def tick(self, tick: Tick) -> None:
        """Pass on the terms and the rate."""
        self._samples = tick.samples
        values = {**tick.terms, "rate": tick.rate, "skipped": float(tick.skipped)}
        self.scalars(tick.samples, {name: value for name, value in values.items() if math.isfinite(value)})

    def measured(self, samples: int, values: Sequence[MetricValue], best: bool) -> None:
        """Pass on the values of a validation."""
        self.scalars(samples, {f"metrics/{v.name}": v.value for v in values if math.isfinite(v.value)})

    def preview(self, path: Path) -> None:
        """Pass on the picture."""
        self.picture(int(path.stem.rpartition("-")[2]), "samples", path)

    def warn(self, text: str) -> None:
        """Pass on the warning."""
        self.text(self._samples, "warnings", text)

    def finished(self, summary: dict[str, Any]) -> None:
        """Pass on the verdict, the metrics, and some sounds and texts."""
        samples = summary["samples"]
        self.text(samples, "verdict", summary["verdict"].get("sentence", ""))
        known = {v["name"]: v["value"] for v in summary["metrics"] if v["value"] is not None}
        self.scalars(samples, {f"metrics/{name}": v for name, v in known.items() if math.isfinite(v)})
        for path in map(Path, summary["artefacts"][:SHOWN]):
            if path.suffix == ".wav":
                with suppress(wave.Error, EOFError, OSError):
                    self.sound(samples, path.stem, *_sound(path))
            elif path.suffix == ".txt":
                self.text(samples, path.stem, path.read_text(encoding="utf-8", errors="replace"))
        self.end()


def _sound(path: Path) -> tuple[np.ndarray[Any, Any], int]:
    """The first channel of a WAV file of 16 bits."""
    with wave.open(str(path)) as file:
        if file.getsampwidth() != 2:
            raise wave.Error("not of 16 bits")
        values = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return values.reshape(-1, file.getnchannels())[:, 0] / 32_768, file.getframerate()


@contextmanager
def required(package: str) -> Iterator[None]:
    """A context that imports the module of a tracker's service. Raises `UsageError` with what to install."""
    try:
        yield
    except ImportError as error:
        raise UsageError(f"{package} is not installed; install it: pip install {package}") from error


class TensorBoard(Tracker):
    """Writes events to ``RUN/events``: scalars, previews, sounds, texts."""

    def __init__(self) -> None:
        super().__init__()
        with required("gan-core[tensorboard]"):
            import tensorboard  # noqa: F401
        self._writer: Any = None

    def begin(self, run: RunFolder, recipe: Mapping[str, Any]) -> None:
        """Open the events; those of a resumed run after its checkpoint are superseded."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.path / "events"), purge_step=self._samples + 1 if self._samples else None)

    def scalars(self, samples: int, values: Mapping[str, float]) -> None:
        """Write each."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, samples)

    def picture(self, samples: int, name: str, path: Path) -> None:
        """Write the picture."""
        from PIL import Image

        with suppress(OSError), Image.open(path) as picture:
            self._writer.add_image(name, np.asarray(picture.convert("RGB")), samples, dataformats="HWC")

    def text(self, samples: int, name: str, text: str) -> None:
        """Write the text."""
        if self._writer is not None:
            self._writer.add_text(name, text, samples)

    def sound(self, samples: int, name: str, sound: np.ndarray[Any, Any], rate: int) -> None:
        """Write the sound."""
        self._writer.add_audio(name, sound[None], samples, sample_rate=rate)

    def end(self) -> None:
        """Close the events."""
        if self._writer is not None:
            self._writer.close()

    def close(self) -> None:
        """Write what is left, also of a training that was stopped."""
        if self._writer is not None:
            self._writer.flush()


class WandB(Tracker):
    """Passes a training on to Weights & Biases, in a project ``gan``; a resumed run goes on there."""

    def __init__(self) -> None:
        super().__init__()
        self._service: Any = self._module()

    def _module(self) -> Any:
        with required("wandb"):
            import wandb
        return wandb

    def begin(self, run: RunFolder, recipe: Mapping[str, Any]) -> None:
        """Open or resume the run of the folder's name."""
        self._service.init(project="gan", name=run.path.name, config=dict(recipe), resume="allow")

    def scalars(self, samples: int, values: Mapping[str, float]) -> None:
        """Log all in one step."""
        self._service.log({**values, "samples": samples})

    def picture(self, samples: int, name: str, path: Path) -> None:
        """Log the picture."""
        if path.is_file():
            self._service.log({name: self._service.Image(str(path)), "samples": samples})

    def end(self) -> None:
        """Close the run."""
        self._service.finish()


class Trackio(WandB):
    """Passes a training on to trackio, which has the interface of Weights & Biases."""

    def _module(self) -> Any:
        with required("trackio"):
            import trackio
        return trackio


class MLflow(Tracker):
    """Passes a training on to MLflow, in the experiment and the store that its environment variables name."""

    def __init__(self) -> None:
        super().__init__()
        with required("mlflow"):
            import mlflow
        self._service: Any = mlflow

    def begin(self, run: RunFolder, recipe: Mapping[str, Any]) -> None:
        """Start a run of the folder's name, with the recipe as parameters."""
        self._service.start_run(run_name=run.path.name)
        self._service.log_params(dict(_flat(recipe)))

    def scalars(self, samples: int, values: Mapping[str, float]) -> None:
        """Log them, with names that MLflow accepts."""
        self._service.log_metrics({_plain(name): value for name, value in values.items()}, step=samples)

    def picture(self, samples: int, name: str, path: Path) -> None:
        """Keep the file as an artefact."""
        if path.is_file():
            self._service.log_artifact(str(path), "previews")

    def end(self) -> None:
        """Close the run."""
        self._service.end_run()


def _flat(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", str(value)[:250]


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "_-./ " else "_" for letter in name)
