"""What each correction for unbalanced classes gives on CIFAR-10, made unbalanced: a table of scores by seed.

    python tests/benchmarks/balance.py CIFAR [--ratio 100] [--seeds 3] [--jobs 2] [--keep FOLDER]

CIFAR is a folder with a folder per class, 2,200 pictures in each or more. Of class c of K, in the order of names,
the first ``2000 * ratio ** (-c / (K - 1))`` pictures are trained on, and the last 200 are for validation. Every way
gets the same budget: ``small_cnn``, 15 epochs, batches of 64, ``hflip`` and ``crop``, all else by default, one thread
of arithmetic. What counts is the last epoch, not the best one, since that would be chosen on the pictures that judge
it. With ``--keep`` what is finished is not run again. About a minute of one core for each way and seed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LARGEST = 2000
HELD_OUT = 200
METRICS = ("f1", "balanced_accuracy")

WAYS: dict[str, str] = {
    "cross_entropy": "--loss cross_entropy",
    "focal": "--loss focal",
    "soft_f1": "--loss soft_f1 --loss.cross_entropy 0.5",
    "ldam": "--loss ldam",
    "class weights sqrt": "--loss.class_weights sqrt",
    "class weights balanced": "--loss.class_weights balanced",
    "class weights effective": "--loss.class_weights effective",
    "class_balanced": "--loss class_balanced",
    "sampler, temperature 2": "--sampler balanced --sampler.temperature 2",
    "sampler": "--sampler balanced",
    "logit_adjusted": "--loss logit_adjusted",
    "balanced_softmax": "--loss balanced_softmax",
}
BUDGET = (
    "--model small_cnn --epochs 15 --batch-size 64 --augment hflip --augment crop "
    "--metric none --metric f1 --metric balanced_accuracy --threads 1 --workers 1"
)


def make(cifar: Path, place: Path, ratio: float) -> list[int]:
    """Copies the pictures to ``place``; the number of training pictures of each class."""
    classes = sorted(entry.name for entry in cifar.iterdir() if entry.is_dir())
    counts = []
    for rank, name in enumerate(classes):
        files = sorted((cifar / name).iterdir())
        count = round(LARGEST * ratio ** (-rank / (len(classes) - 1)))
        if len(files) < count + HELD_OUT:
            raise SystemExit(f"{cifar / name} has only {len(files)} pictures")
        for split, part in (("train", files[:count]), ("val", files[-HELD_OUT:])):
            (place / split / name).mkdir(parents=True)
            for file in part:
                shutil.copyfile(file, place / split / name / file.name)
        counts.append(count)
    return counts


def train(data: Path, runs: Path, way: str, seed: int) -> dict[str, float]:
    """The last epoch's scores of one run."""
    run = runs / f"{way.replace(' ', '-').replace(',', '')}-{seed}"
    command = [sys.executable, "-m", "clsfit", "train", str(data), *BUDGET.split(), *WAYS[way].split()]
    command += ["--seed", str(seed), "-o", str(run), "--resume", "-q"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)}\n{ended.stderr}")
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return {name: last[f"val/{name}"] for name in METRICS}


def main() -> None:
    """Runs every way with every seed, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--ratio", type=float, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for the pictures and the runs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = given.keep or Path(folder)
        if not (place / "data").exists():
            print("pictures by class:", make(given.cifar, place / "data", given.ratio), file=sys.stderr)
        tasks = [(way, seed) for seed in range(given.seeds) for way in WAYS]
        with ThreadPoolExecutor(given.jobs) as pool:
            scores = list(pool.map(lambda task: train(place / "data", place / "runs", *task), tasks))
    print("| | macro F1 | mean | balanced accuracy | mean |\n| --- | --- | --- | --- | --- |")
    for way, options in WAYS.items():
        cells = [f"`{options}`"]
        for metric in METRICS:
            values = [score[metric] for (name, _), score in zip(tasks, scores, strict=True) if name == way]
            cells += [", ".join(f"{value:.3f}" for value in values), f"{statistics.fmean(values):.3f}"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
