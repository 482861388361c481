"""What is damaged, and the command that meets it. Each function writes files into ``here``, returns arguments."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import mutate
import yaml

Case = Callable[[Path, Path, random.Random], list[str]]
"""Of the folder with what is whole, an empty folder, and a generator: the arguments."""


def reseal(raw_header: bytes, data: bytes) -> bytes:
    """A model file whose hash is right, whatever its header says."""
    mark, zeros = b'"sha256":"', b"0" * 64
    text = raw_header + b" " * (-len(raw_header) % 8)
    head = len(text).to_bytes(8, "little") + text
    at = head.find(mark)
    if at < 0:
        return head + data
    at += len(mark)
    head = head[:at] + zeros + head[at + 64 :]
    digest = hashlib.sha256(head + data).hexdigest().encode()
    return head[:at] + digest + head[at + 64 :] + data


def parts(blob: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Of a model file: safetensors' own header, what clsfit says in it, and the numbers."""
    size = int.from_bytes(blob[:8], "little")
    outer = json.loads(blob[8 : 8 + size])
    return outer, json.loads(outer["__metadata__"]["clsfit"]), blob[8 + size :]


def joined(outer: dict[str, Any], inner: Any, data: bytes) -> bytes:
    """The inverse of :func:`parts`, with the right hash."""
    metadata = {"clsfit": inner if isinstance(inner, str) else json.dumps(inner), "sha256": "0" * 64}
    return reseal(json.dumps(outer | {"__metadata__": metadata}, separators=(",", ":")).encode(), data)


def _applied(file: Path, whole: Path, rng: random.Random) -> list[str]:
    picture = str(whole / "data" / "bars" / "000.png")
    start = ["train", str(whole / "data"), "--model", "mlp", "--model.hidden", "4", "--dry-run", "--model.weights"]
    return rng.choice(
        [
            ["predict", str(file), picture],
            ["predict", str(file), picture, "--probabilities", "--top-k", "3"],
            ["evaluate", str(file), str(whole / "data"), "--json"],
            ["evaluate", str(file), str(whole / "data")],
            [*start, str(file)],
            ["import", str(file), str(file.with_name("imported.safetensors"))],
        ]
    )


def model_bytes(whole: Path, here: Path, rng: random.Random) -> list[str]:
    """A model file with damaged bytes."""
    file = here / "model.safetensors"
    file.write_bytes(mutate.data((whole / "run" / "best.safetensors").read_bytes(), rng))
    return _applied(file, whole, rng)


def model_header(whole: Path, here: Path, rng: random.Random) -> list[str]:
    """A model file with a wrong header and a right hash."""
    outer, inner, data = parts((whole / "run" / "best.safetensors").read_bytes())
    outer.pop("__metadata__")
    kind = rng.randrange(8)
    if kind == 0:
        outer = mutate.tree(outer, rng)
        outer = outer if isinstance(outer, dict) else {}
    elif kind == 1:
        data = mutate.data(data, rng)
    elif kind == 2:
        inner = mutate.data(json.dumps(inner).encode(), rng).decode("utf-8", "replace")
    elif kind == 3:
        inner = inner | {rng.choice(list(inner)): mutate.value(rng)}
    else:
        inner = mutate.tree(inner, rng)
    file = here / "model.safetensors"
    file.write_bytes(joined(outer, inner, data))
    return _applied(file, whole, rng)


def rehash(checkpoint: Path) -> None:
    """Gives a checkpoint the manifest of the files that it has now."""
    step = int(checkpoint.name.removeprefix("step-"))
    files = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
        for path in checkpoint.iterdir()
        if path.name != "manifest.json"
    }
    text = json.dumps({"files": files, "format": 1, "step": step}, indent=1, sort_keys=True, separators=(",", ": "))
    (checkpoint / "manifest.json").write_text(text + "\n")


def checkpoint(whole: Path, here: Path, rng: random.Random) -> list[str]:
    """An unfinished run whose checkpoints say something else than they should, most with right hashes."""
    run = here / "run"
    shutil.copytree(whole / "cut", run)
    for place in sorted((run / "checkpoints").glob("step-*")):
        kind = rng.randrange(6)
        if kind < 3:
            state = json.loads((place / "state.json").read_text())
            (place / "state.json").write_text(json.dumps(mutate.tree(state, rng)))
        elif kind == 3:
            file = place / rng.choice(["state.json", "state.safetensors", "model.safetensors"])
            file.write_bytes(mutate.data(file.read_bytes(), rng))
        if kind < 4:
            rehash(place)
        else:
            file = place / "manifest.json"
            file.write_bytes(mutate.data(file.read_bytes(), rng))
    return ["train", str(whole / "data"), *TRAINED, "-o", str(run), "--resume", "-q"]


TRAINED = (
    *("--model", "mlp", "--model.hidden", "4", "--batch-size", "16", "--threads", "1", "--device", "cpu"),
    *("--epochs", "2", "--callback.checkpoint.every_steps", "1", "--scheduler", "plateau", "--optimizer", "adamw"),
)
"""The options of the whole run, which leaves one checkpoint inside of the second epoch."""


def cut(run: Path, copy: Path) -> None:
    """Of a whole run, what a kill in its last step would have left."""
    shutil.copytree(run, copy)
    (copy / "summary.json").unlink()
    shutil.rmtree(max((copy / "checkpoints").glob("step-*")))


def run_files(whole: Path, here: Path, rng: random.Random) -> list[str]:
    """A run whose records were changed."""
    run = here / "run"
    shutil.copytree(whole / rng.choice(["run", "cut"]), run)
    name = rng.choice(["config.yaml", "environment.json", "split.csv", "metrics.jsonl", "summary.json", "log.txt"])
    file = run / name
    raw = file.read_bytes() if file.exists() else b"{}"
    kind = rng.randrange(3)
    if name in {"environment.json", "summary.json"} and kind:
        raw = json.dumps(mutate.tree(json.loads(raw), rng)).encode()
    elif name == "config.yaml" and kind:
        raw = _yaml(mutate.tree(yaml.safe_load(raw), rng))
    else:
        raw = mutate.data(raw, rng)
    file.write_bytes(raw)
    command = ["train", str(whole / "data"), *TRAINED, "-o", str(run), "--resume", "-q"]
    short = ["train", "-o", str(run), "--resume", "-q", "--dry-run"]
    return rng.choice([["evaluate", str(run)], ["evaluate", str(run), "--split", "train"], command, short])


def _yaml(tree: Any) -> bytes:
    try:
        return yaml.safe_dump(tree).encode()
    except (RecursionError, UnicodeEncodeError):
        return json.dumps(tree).encode()  # which is YAML too


CONFIGURATION = {
    "model": {"name": "mlp", "hidden": [4], "weights": "none"},
    "loss": {"name": "focal", "gamma": 2.0},
    "optimizer": {"name": "adamw", "lr": 0.01, "betas": [0.9, 0.99]},
    "scheduler": "constant",
    "metric": ["none", "accuracy", {"name": "f1", "average": "macro"}],
    "callback": ["none", {"name": "early_stop", "patience": 2}],
    "augment": {"crop": {"padding": 1}},
    "epochs": 1,
    "batch_size": 16,
    "seed": 0,
    "input_size": 8,
    "channels": 1,
    "mean": [0.5],
    "std": 0.25,
    "device": "cpu",
    "group_regex": "(.*)/",
    "disable_plugins": [],
}
_SNIPPETS = (
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
    "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
    "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g]\nloss: *h\n",
    "loss: !!python/object/apply:os.system ['touch marker']\n",
    "loss: !!python/name:os.system\n",
    "loss: !!binary aGVsbG8=\n",
    "seed: !!int '0x10'\n",
    "epochs: 1\nepochs: 2\n",
    "loss: &x {name: *x}\n",
    "? [a, b]\n: 1\n",
    "? {a: b}\n: 1\n",
    "<<: {epochs: 2}\n",
    "loss: " + "[" * 3000 + "\n",
    "loss: " + "{a: " * 900 + "1" + "}" * 900 + "\n",
    "- " * 2000 + "\n",
    "seed: " + "9" * 5000 + "\n",
    "model.weights: x\n",
    "%YAML 9.9\n---\nepochs: 1\n",
    "---\nepochs: 1\n---\nepochs: 2\n",
    "\ufeffepochs: 1\n",
    'data: "a\\0b"\n',
    'model: {name: mlp, weights: "a\\0b"}\n',
    "data: 2001-99-99\n",
    'group_regex: "(a+)+$"\n',
)


def configuration(whole: Path, here: Path, rng: random.Random) -> list[str]:
    """A configuration file that is wrong in its values, its form or its bytes."""
    file, kind = here / "run.yaml", rng.randrange(5)
    if kind == 0:
        file.write_bytes(rng.choice(_SNIPPETS).encode())
    elif kind == 1:
        file.write_bytes(mutate.data(yaml.safe_dump(CONFIGURATION).encode() + rng.choice(_SNIPPETS).encode(), rng))
    elif kind == 2:
        file.write_bytes(mutate.data(yaml.safe_dump(CONFIGURATION).encode(), rng))
    else:
        file.write_bytes(_yaml(mutate.tree(CONFIGURATION, rng)))
    arguments = ["train", "-c", str(file)]
    if rng.randrange(3):
        return [*arguments, "--print-config"]
    return [*arguments, str(whole / "data"), "--dry-run", "--model", "mlp", "--model.hidden", "4", "--input-size", "8"]


_WORDS = """
train evaluate predict import plugins config list show schema --help -h --version --json --kind loss focal
mlp --loss --model --metric --callback --augment --set --recipe default -c -o --epochs --batch-size --seed 0
1 -1 --input-size --channels --resize --mean --std 0.5,x --val-fraction --device cpu cuda:99 --precision
--workers --threads --cache --step --resume --overwrite --accept-changes --skip-bad --print-config
--no-plugins --disable-plugin standard --top-k --probabilities --template --label-column --id-column --split
val --fail-under accuracy=2 accuracy=0 --predictions --loss.gamma --no-loss.gamma --metric.f1.average
--metric.f1 --loss. --.x --metric..k loss.gamma=1 metric.f1.average=micro a=b =x x= --install-completion
--show-completion --data digits --model.weights none default --quiet -q -v --group --group-regex ( (a+)+$
/dev/null /dev/zero . .. / '' ~ *
""".split()  # noqa: SIM905


def command_line(whole: Path, here: Path, rng: random.Random) -> list[str]:
    """Words in an order that nobody means, often damaged."""
    whole_words = [*_WORDS, str(whole / "run"), str(whole / "data"), str(whole / "run" / "best.safetensors")]
    whole_words += [str(here / "new"), str(here / "new.csv"), str(whole / "data" / "bars" / "000.png")]
    words = []
    for _ in range(rng.randrange(7)):
        word = rng.choice(whole_words)
        if not rng.randrange(4):
            word = mutate.data(word.encode(), rng).replace(b"\0", b"").decode("utf-8", "surrogateescape")
        elif not rng.randrange(4):
            word += "=" + str(mutate.value(rng)).replace("\0", "")[:2000].encode("utf-8", "replace").decode()
        words.append(word)
    command = rng.choice(["train", "train", "evaluate", "predict", "import", "plugins", "plugins", "config", ""])
    if command == "evaluate" and rng.randrange(3):
        words.insert(0, str(whole / "run"))
    if command == "predict" and rng.randrange(3):
        words[:0] = [str(whole / "run"), str(whole / "data" / "bars" / "000.png")]
    found = ([command] if command else []) + words
    if any(word.startswith(("--install", "--show-completion")) for word in found):  # they write for the user's shell
        return ["--help"]
    return [*found, rng.choice(["--dry-run", "--print-config", "--help"])] if "train" in found else found


KINDS: dict[str, Case] = {
    "model-bytes": model_bytes,
    "model-header": model_header,
    "checkpoint": checkpoint,
    "run-files": run_files,
    "configuration": configuration,
    "command-line": command_line,
    "manifest": datasets.manifest,
    "picture-in-a-set": datasets.picture_in_a_set,
}
