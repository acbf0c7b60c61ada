"""Run the benchmarks one after another: ``python benchmarks/run.py [NAME …]``; a name is part of a script's path.

Each script records its result as a JSON file beside it. Together they take some hours. Those that keep what
they train have it under ``runs/benchmarks``, and go on there when they are called again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gan.testing import real_file

WORK = Path("runs/benchmarks")
SMALL = ["--per-class", "10", "--minutes", "10", "--set", "model.capacity=256", "--set", "model.max_channels=32"]
CALLS = {
    "image/generators_mnist.py": [
        *([name, "--minutes", "20"] for name in ("dcgan-32", "sngan-32", "wgan-gp-32", "biggan-32")),
        ["r3gan-32", "--minutes", "20", "--set", "modality.labels=true"],
        ["stylegan2-32", "--minutes", "20", "--truncations", "0.3", "0.5", "0.7"],
        [
            *("fewshot-64", "--minutes", "20", "--name", "fewshot-32"),
            *("--set", "modality.resolution=32", "--set", "modality.mirror=false"),
        ],
        *(
            ["stylegan2-32", "--minutes", "5", "--path-length", "--name", f"stylegan2-32-{name}", *more]
            for name, more in (("5-minutes", []), ("path-length", ["--set", "model.path_length=2"]))
        ),
    ],
    "image/dcgan_mnist.py": [["--minutes", "29", "--set", "training.samples=744000"]],
    "image/small_data.py": [
        *(
            ["cifar10", case, "--minutes", "2.5", "--marks", "4"]
            for case in ("r3gan", "stylegan2", "stylegan2-ada", "stylegan2-ada-classes")
        ),
        *(["cifar10", case, *SMALL] for case in ("stylegan2", "stylegan2-ada", "stylegan2-diffaugment")),
        *(
            ["flowers", case, "--minutes", "9", "--marks", "3", "--samples", "1000"]
            for case in ("fewshot", "stylegan2-ada", "dcgan")
        ),
    ],
    "image/stacked_digits.py": [[case, "--minutes", "2.5"] for case in ("dcgan", "wgan-gp", "r3gan")],
    "image/super_resolution.py": [
        ["--factor", factor, "--pixels", "12000", "--adversarial", "3000"] for factor in ("2", "4")
    ],
    "image/super_resolution_memory.py": [[f"{WORK}/super-resolution/run-x2"]],
    "audio/hifigan_digits.py": [],
    "audio/packing.py": [],
    **{f"audio/{name}.py": [["--run", f"{WORK}/{name}"]] for name in ("codec_digits", "jukebox_music")},
    "image/translation.py": [
        *(["pix2pix", "--tenth", "8", "--seed", seed, "--name", f"pix2pix-seed-{seed}"] for seed in "012"),
        ["pix2pix", "--data", "pairs_blob2noto_64.zip"],
        *([kind, *shapes] for kind in ("cyclegan", "cut") for shapes in ([], ["--shapes"])),
    ],
    "video/motions.py": [
        *([name] for name in ("motions", "animate", "dvdgan-motions", "stylegan-v-motions")),
        ["motions", "--data", "shapes", "--minutes", "8"],
        *(
            [name, "--data", "sprites", "--minutes", "1", *more]
            for name, more in (
                ("motions", ["--set", "model.content=24", "--set", "model.motion=8"]),
                ("dvdgan-motions", []),
                ("stylegan-v-motions", []),
            )
        ),
    ],
    "shape3d/sets.py": [
        [what, case, "--work", f"{WORK}/shapes/{case}"]
        for case in ("3dgan-furniture", "3dgan-mmmm", "triplane-furniture", "triplane-mmmm")
        for what in ("train", "evaluate")
    ],
    "shape3d/views.py": [],
    "image/flower_domains.py": [[kind, "--set", "model.upsample=nearest"] for kind in ("cyclegan", "cut")],
    "text/coco.py": [["--work", f"{WORK}/coco"]],
    "text/gad.py": [["--work", f"{WORK}/gad"]],
    "text/candidates.py": [["--work", f"{WORK}/candidates"]],
    "text/coco_lengths.py": [["--work", f"{WORK}/coco"]],
    "text/paper_cost.py": [["ORACLE"]],
    "text/relgan_oracle.py": [["ORACLE", "--work", f"{WORK}/relgan-oracle"]],
    "text/seqgan_seeds.py": [["--work", f"{WORK}/seqgan-seeds"]],
    "text/curve.py": [],
    "text/informative.py": [],
    "text/oracle_data.py": [],
}
"""What scripts are called with, once for each list; those with none look at a run of the user's or make a folder for
him, or compare with what is not required here. ORACLE stands for the published oracle of the real data."""


def main(names: list[str]) -> int:
    root = Path(__file__).parent
    scripts = [path for path in sorted(root.glob("*/*.py")) if "__main__" in path.read_text(encoding="utf-8")]
    chosen = [path for path in scripts if not names or any(name in path.relative_to(root).as_posix() for name in names)]
    if not chosen:
        print(f"no benchmark of that name; there are {', '.join(p.relative_to(root).as_posix() for p in scripts)}")
        return 2
    failed = []
    for path in chosen:
        script = path.relative_to(root).as_posix()
        for call in CALLS.get(script, [[]]):
            arguments = [str(real_file("text", "seqgan_oracle.npz")) if word == "ORACLE" else word for word in call]
            print(f"== {script} {' '.join(call)}", flush=True)
            if subprocess.run([sys.executable, str(path), *arguments], check=False).returncode:
                failed.append(f"{script} {' '.join(call)}")
    for name in failed:
        print(f"failed: {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
