"""Jukebox on music: reconstruction, bits of codes, primed continuations, thirty seconds of sound.

    python benchmarks/audio/jukebox_music.py [--run RUN]

The recipe `jukebox` (8 kHz, two levels) on the first three quarters of six recordings: three pieces of
`librosa_clips.zip` and the three longest of `sonicpi_loops.zip`. Measured on their last quarters, which it has not
seen (only the three pieces have clips there of the length that is needed, three each): the spectral convergence of the
finest level, the bits that the transformers need for a code beside the entropy of the codes alone, and whether the
continuation of a clip of two seconds is nearer to the recording behind the clip (Euclidean distance of log-mel
statistics, each divided by its deviation over the training data) than continuations of the other recordings' clips are.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from gan.api import load, recipe, train
from gan.reporting.manifest import surroundings
from gan.testing import shared_data
from gan_audio.metrics.logmel import LogMelStatistics
from gan_audio.metrics.pairs import convergence
from gan_audio.picture import sheet

HERE = Path(__file__).parent
RATE = 8000
CLIP = 16_384
"""Samples of a clip, and of the continuation that is compared."""
TAKES = 3
"""Continuations of each clip."""
CLIPS = 3
"""Clips of each unseen part, one after another."""


def music() -> dict[str, np.ndarray]:
    """Name -> waveform at 8 kHz, at most a minute."""
    found = {}
    for name in ("librosa_clips.zip", "sonicpi_loops.zip"):
        path = shared_data("audio", name)
        if path is None:
            raise SystemExit(f"needs ../shared/data/audio/{name}")
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.namelist()):
                if member.endswith((".ogg", ".flac")) and not member.startswith("198"):
                    wave, rate = soundfile.read(io.BytesIO(archive.read(member)), dtype="float32", always_2d=True)
                    mono = soxr.resample(wave.mean(1), rate, RATE)[: 60 * RATE]
                    found[Path(member).stem[:24]] = 0.95 * mono / np.abs(mono).max()
    longest = sorted(found, key=lambda name: -len(found[name]))[:6]
    return {name: found[name] for name in longest}


def clips(parts: dict[str, np.ndarray]) -> tuple[list[str], np.ndarray]:
    """(the recording of each clip, clips with what is behind them ``(N, 2 · CLIP)``); parts too short have none."""
    names, found = [], []
    for name, wave in parts.items():
        if len(wave) >= 2 * CLIP * CLIPS:
            names += CLIPS * [name]
            found += [wave[at * 2 * CLIP : (at + 1) * 2 * CLIP] for at in range(CLIPS)]
    return names, np.stack(found)


def features(waves: np.ndarray, modality: object) -> np.ndarray:
    return LogMelStatistics()({"sound": (waves * 32767).astype(np.int16)[:, None]}, modality).vectors


THIRTY = """
import resource, sys, time
import gan
model = gan.load(sys.argv[1], device="cpu")
import torch
torch.set_num_threads(1)
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
from pathlib import Path
model.write_stream(Path(sys.argv[2]), 1, 0, options={"seconds": 30})
print(before / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time() - started)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run",
        type=Path,
        help="of the run; one that was stopped is resumed, one that ended is measured",
    )
    parser.add_argument("--samples", type=int, help="train on so many real samples in all, instead of the recipe's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pieces = music()
    with tempfile.TemporaryDirectory() as temporary:
        run = arguments.run or Path(temporary) / "run"
        data = run.with_name(f"{run.name}-data")  # beside the run, which can be resumed with it
        data.mkdir(exist_ok=True)
        for name, wave in pieces.items():
            soundfile.write(data / f"{name}.wav", wave[: 3 * len(wave) // 4], RATE)
        values = recipe("audio", named="jukebox")
        values["data"] = {"source": str(data)}
        values["training"] |= {"preview_ticks": 0}
        values["evaluation"] |= {"samples": 4, "artefacts": 1, "metrics": ["code-bits"]}
        began = time.process_time()
        is_finished = (run / "evaluation" / "result.json").exists()
        if not is_finished:
            train(values, out=run, samples=arguments.samples, or_resume=True)
        trained = None if is_finished else time.process_time() - began
        model = load(run)
        jukebox, modality = model.architecture.eval(), model.modality
        command = [sys.executable, "-c", THIRTY, str(run), str(Path(temporary) / "thirty")]
        thirty = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900).stdout.split()
        sound_of_thirty, _ = soundfile.read(next(Path(temporary, "thirty").glob("*.wav")), dtype="int16")
    unseen, sounds = clips({name: wave[3 * len(wave) // 4 :] for name, wave in pieces.items()})
    integers = torch.from_numpy(np.rint(sounds * 32767).astype(np.int16))[:, None]
    with torch.no_grad():
        codes = jukebox.autoencoder.encode(integers.float() / 32768, 0)
        again = jukebox.autoencoder.decode(codes, 0)[:, 0].numpy()
        bits = jukebox.code_bits({"sound": integers})
    began = time.process_time()
    takes = []
    for take in range(TAKES):
        made = model.generate(
            len(sounds), seed=take, options={"seconds": 2 * CLIP / RATE}, given={"sound": integers[..., :CLIP].numpy()}
        )
        takes.append(made["sound"][:, 0, CLIP:].astype(np.float32) / 32768)
    generated = time.process_time() - began
    parts = [wave[at : at + CLIP] for wave in pieces.values() for at in range(0, 3 * len(wave) // 4 - CLIP, CLIP)]
    deviation = features(np.stack(parts), modality).std(0) + 1e-3
    behind = features(sounds[:, CLIP:], modality) / deviation
    distances = []
    for take in takes:
        ours = features(take, modality) / deviation
        distances.append(np.linalg.norm(behind[:, None] - ours[None], axis=2))
    mean = np.mean(distances, 0)  # (what is behind a clip, continuation of which clip)
    foreign = np.array([[one != other for other in unseen] for one in unseen])
    own, others = np.diag(mean), (mean * foreign).sum(1) / foreign.sum(1)
    nearest = np.where(foreign, mean, np.inf).min(1)
    result = {
        "clips of": unseen,
        "spectral_convergence_db": float(np.mean([convergence(a, b) for a, b in zip(again, sounds, strict=True)])),
        "bits": {name: {"transformer": value, "codes alone": alone} for name, value, alone in bits},
        "continuations": {
            "distance to the recording behind the own clip": float(own.mean()),
            "of continuations of other recordings' clips": float(others.mean()),
            "clips whose own continuation is nearer than the mean of these": int((own < others).sum()),
            "clips whose own continuation is nearer than each of these": int((own < nearest).sum()),
            "of": len(mean),
        },
        "thirty_seconds": {
            "MB before": float(thirty[0]), "MB at the peak": float(thirty[1]),
            "times real time": 30 / float(thirty[2]), "samples": len(sound_of_thirty),
        },
        "cpu_seconds_of_continuations": generated,
        "samples_shown": model.trained,
        "cpu_seconds_of_training": trained,
        "peak_MB_of_training": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "load": os.getloadavg(),
        **surroundings("soundfile", "soxr", "transformers"),
    }  # fmt: skip
    (HERE / "jukebox_music.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    shown = []
    for number in range(0, len(sounds), CLIPS):
        shown += [sounds[number], again[number], np.concatenate([sounds[number, :CLIP], takes[0][number]])]
    captions = [f"{name[:14]} {what}" for name in unseen[::CLIPS] for what in ("", "decoded", "continued")]
    waves = (np.clip(np.stack(shown), -1, 1) * 32767).astype(np.int16)[:, None]
    sheet(waves, RATE, captions).save(HERE / "jukebox_music.png")
    print(json.dumps({n: result[n] for n in list(result)[1:9]}, indent=1))


if __name__ == "__main__":
    main()
