"""HiFi-GAN, Vocos and Griffin-Lim on digits of unseen speakers: mel L1 at equal mel spectrograms, and speed.

    python benchmarks/audio/hifigan_digits.py --librosa PYTHON [--runs DIR]    # an interpreter with librosa

The recipes `hifigan-small` and `vocos-small` at 8 kHz (64 mel bands, 128 samples a frame) on four speakers of
`fsdd_digits_8k.zip`, measured on 75 digits each of the two others (`theo`, `yweweler`), and on as many of the four as
they were trained on. Settings were chosen with one of the four (`jackson`) as the unseen speaker. Griffin-Lim is
librosa's `mel_to_audio` with its own settings (least squares for the spectrogram, 32 iterations) on the same mel
spectrograms; its frames are centred on other samples, so it is measured at the delay that is best for it. All are
compared with the recording's mel spectrogram, and by spectral convergence and log distance at two other resolutions.
Speeds are seconds of sound by seconds of CPU time on one thread, the second call of each.
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
from gan.generation.model import Model
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
        "--runs",
        type=Path,
        help="folder of the runs, each called like its recipe; one that was stopped is resumed, one that ended is "
        "measured",
    )
    parser.add_argument("--recipes", nargs="+", default=["hifigan-small", "vocos-small"])
    parser.add_argument("--samples", type=int, help="train on so many real samples in all, instead of the recipe's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    speakers = digits()
    heard = joined([digit for speaker in sorted(set(speakers) - set(UNSEEN)) for digit in speakers[speaker][:EACH]])
    original = joined([digit for speaker in UNSEEN for digit in speakers[speaker][:EACH]])
    length = len(original) / RATE
    rows: dict[str, dict[str, float]] = {}
    trainings, shown = {}, {"recording": original}
    with tempfile.TemporaryDirectory() as temporary:
        runs = arguments.runs or Path(temporary)
        data = runs / "data"  # beside the runs, which can be resumed with it
        data.mkdir(exist_ok=True, parents=True)
        for speaker in sorted(set(speakers) - set(UNSEEN)):
            soundfile.write(data / f"{speaker}.wav", np.concatenate(speakers[speaker]), RATE)
        for name in arguments.recipes:
            model, seconds = trained(name, runs / name, data, arguments.samples)
            made(model, original[: 2 * RATE])
            before = time.process_time()
            shown[name] = made(model, original)
            rows[name] = distances(shown[name], original) | {
                "times real time": length / (time.process_time() - before),
                "mel L1 of speakers of the training": distances(made(model, heard), heard)["mel L1"],
                "level by that of the recordings, dB": 20 * float(np.log10(shown[name].std() / original.std())),
            }
            trainings[name] = {"samples_shown": model.trained, "cpu_seconds": seconds}
        theirs, their_seconds, version = griffin_lim(arguments.librosa, vocoder_mel(original, MEL), Path(temporary))
    theirs = np.pad(theirs, (0, max(0, len(original) - len(theirs))))[: len(original)]
    shifts = range(-MEL.hop, MEL.hop + 1, MEL.hop // 4)
    theirs = min((np.roll(theirs, shift) for shift in shifts), key=lambda w: distances(w, original)["mel L1"])
    rows["Griffin-Lim"] = distances(theirs, original) | {"times real time": length / their_seconds}
    shown["Griffin-Lim"] = theirs
    result = {
        "rows": rows,
        "seconds_measured": length,
        "trainings": trainings,
        "librosa": version,
        "load": os.getloadavg(),
        **surroundings("soundfile", "soxr"),
    }
    (HERE / "hifigan_digits.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    part = slice(0, 2 * RATE)
    waves = np.stack([np.clip(np.rint(one[part] * 32767), -32768, 32767) for one in shown.values()])[:, None]
    sheet(waves.astype(np.int16), RATE, list(shown)).save(HERE / "hifigan_digits.png")
    print(json.dumps(result["rows"], indent=1))


def joined(sounds: list[np.ndarray]) -> np.ndarray:
    """One waveform of whole frames."""
    wave = np.concatenate(sounds)
    return wave[: len(wave) // MEL.hop * MEL.hop].astype(np.float32)


def made(model: Model, wave: np.ndarray) -> np.ndarray:
    """The waveform that the vocoder makes of the mel spectrogram of `wave`."""
    sound = model.generate(1, given={"mel": vocoder_mel(wave[: len(wave) // MEL.hop * MEL.hop], MEL)[None]})["sound"]
    return sound[0, 0].astype(np.float32) / 32768


def trained(name: str, run: Path, data: Path, samples: int | None) -> tuple[Model, float | None]:
    """(the model of a recipe at 8 kHz, CPU seconds of its training or None where the run had ended before)."""
    values = recipe("audio", named=name)
    values["data"] = {"source": str(data)}
    values["modality"] |= {"rate": RATE, "mel_bands": MEL.bands, "mel_hop": MEL.hop, "long": "windows"}
    if name.startswith("hifigan"):
        values["model"] |= {"rate": RATE, "upsampling": [8, 4, 4]}
    values["training"] |= {"preview_ticks": 0}
    values["evaluation"] |= {"samples": 32}
    if (run / "evaluation" / "result.json").exists():
        return load(run), None
    began = time.process_time()
    train(values, out=run, samples=samples, or_resume=True)
    return load(run), time.process_time() - began


if __name__ == "__main__":
    main()
