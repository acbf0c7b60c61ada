"""HiFi-GAN and Griffin-Lim on spoken digits of unseen speakers: mel L1 at equal mel spectrograms, and speed.

    python benchmarks/audio/hifigan_digits.py --librosa PYTHON [--run RUN]     # an interpreter with librosa

The recipe `hifigan-small` at 8 kHz (64 mel bands, 128 samples a frame) on four speakers of `fsdd_digits_8k.zip`,
measured on 75 digits each of the two others (`theo`, `yweweler`). Griffin-Lim is librosa's `mel_to_audio` with its own
settings (least squares for the spectrogram, 32 iterations) on the same mel spectrograms; its frames are centred on
other samples, so it is measured at the delay that is best for it. Both are compared with the recording's mel
spectrogram, and by spectral convergence and log distance at two other resolutions. Speeds are seconds of sound by
seconds of CPU time on one thread, the second call of each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from codec_digits import RATE, UNSEEN, digits
from gan.api import load, recipe, train
from gan.reporting.manifest import surroundings
from gan_audio.metrics.pairs import convergence, log_distance
from gan_audio.picture import sheet
from gan_audio.spectra import MelSettings, vocoder_mel

HERE = Path(__file__).parent
EACH = 75
MEL = MelSettings(RATE, 128, 64, RATE / 2)
GRIFFIN_LIM = """
import sys, time
import librosa, numpy as np
mel, rate, hop = np.exp(np.load(sys.argv[1])), int(sys.argv[3]), int(sys.argv[4])
np.random.seed(0)
for _ in range(2):
    before = time.process_time()
    wave = librosa.feature.inverse.mel_to_audio(mel, sr=rate, n_fft=4 * hop, hop_length=hop, power=1.0)
np.save(sys.argv[2], wave)
print(time.process_time() - before, librosa.__version__)
"""


def distances(made: np.ndarray, original: np.ndarray) -> dict[str, float]:
    return {
        "mel L1": float(np.abs(vocoder_mel(made, MEL) - vocoder_mel(original, MEL)).mean()),
        "spectral convergence": convergence(made, original),
        "STFT distance": log_distance(made, original),
    }


def griffin_lim(python: str, mel: np.ndarray, folder: Path) -> tuple[np.ndarray, float, str]:
    """(waveform, CPU seconds, librosa's version)."""
    given, made = folder / "mel.npy", folder / "wave.npy"
    np.save(given, mel)
    command = [python, "-c", GRIFFIN_LIM, str(given), str(made), str(RATE), str(MEL.hop)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout.split()
    return np.load(made), float(answer[0]), answer[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--librosa", required=True, help="a Python interpreter with librosa")
    parser.add_argument(
        "--run",
        type=Path,
        help="of the run; one that was stopped is resumed, one that ended is measured",
    )
    parser.add_argument("--samples", type=int, help="train on so many real samples in all, instead of the recipe's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    speakers = digits()
    with tempfile.TemporaryDirectory() as temporary:
        run = arguments.run or Path(temporary) / "run"
        data = run.with_name(f"{run.name}-data")  # beside the run, which can be resumed with it
        data.mkdir(exist_ok=True)
        for speaker in sorted(set(speakers) - set(UNSEEN)):
            soundfile.write(data / f"{speaker}.wav", np.concatenate(speakers[speaker]), RATE)
        values = recipe("audio", named="hifigan-small")
        values["data"] = {"source": str(data)}
        values["modality"] |= {"rate": RATE, "mel_bands": MEL.bands, "mel_hop": MEL.hop, "long": "windows"}
        values["model"] |= {"rate": RATE, "upsampling": [8, 4, 4]}
        values["training"] |= {"preview_ticks": 0}
        values["evaluation"] |= {"samples": 32}
        began = time.process_time()
        is_finished = (run / "evaluation" / "result.json").exists()
        if not is_finished:
            train(values, out=run, samples=arguments.samples, or_resume=True)
        trained = None if is_finished else time.process_time() - began
        model = load(run)
        original = np.concatenate([digit for speaker in UNSEEN for digit in speakers[speaker][:EACH]])
        original = original[: len(original) // MEL.hop * MEL.hop].astype(np.float32)
        mel = vocoder_mel(original, MEL)
        for _ in range(2):
            before = time.process_time()
            sound = model.generate(1, given={"mel": mel[None]})["sound"]
            seconds = time.process_time() - before
        theirs, their_seconds, version = griffin_lim(arguments.librosa, mel, Path(temporary))
    ours = sound[0, 0].astype(np.float32) / 32768
    theirs = np.pad(theirs, (0, max(0, len(original) - len(theirs))))[: len(original)]
    shifts = range(-MEL.hop, MEL.hop + 1, MEL.hop // 4)
    theirs = min((np.roll(theirs, shift) for shift in shifts), key=lambda w: distances(w, original)["mel L1"])
    length = len(original) / RATE
    result = {
        "rows": {
            "hifigan-small": distances(ours, original) | {"times real time": length / seconds},
            "Griffin-Lim": distances(theirs, original) | {"times real time": length / their_seconds},
        },
        "seconds_measured": length,
        "samples_shown": model.trained,
        "cpu_seconds_of_training": trained,
        "librosa": version,
        "load": os.getloadavg(),
        **surroundings("soundfile", "soxr"),
    }
    (HERE / "hifigan_digits.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    part = slice(0, 2 * RATE)
    shown = {"recording": original, "hifigan-small": ours, "Griffin-Lim": theirs}
    waves = np.stack([np.clip(np.rint(one[part] * 32767), -32768, 32767) for one in shown.values()])[:, None]
    sheet(waves.astype(np.int16), RATE, list(shown)).save(HERE / "hifigan_digits.png")
    print(json.dumps(result["rows"], indent=1))


if __name__ == "__main__":
    main()
