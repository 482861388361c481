from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clsfit.errors import CheckpointError, ResourceError
from clsfit.storage import modelfile

TENSORS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(3, dtype=np.int64), "0": np.zeros((0, 2))}
HEADER: dict[str, Any] = {"classes": ["bee", 'a"sha256":"', "ä\udcff", "<\n>"], "nan": math.nan, "deep": {"x": [2.5]}}
READ = HEADER | {"nan": None}
SAMPLED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def blob() -> bytes:
    return safetensors.numpy.save(TENSORS, {"dropped": "1"})


@pytest.fixture(scope="module")
def sealed(blob: bytes) -> bytes:
    return modelfile.seal(blob, HEADER)


def parsed(raw: bytes) -> dict[str, Any]:
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])


def resealed(raw: bytes, old: bytes, new: bytes) -> bytes:
    """The file with some header bytes replaced, and with the right length and hash for that."""
    head = raw[8 : 8 + int.from_bytes(raw[:8], "little")]
    assert head.count(old) == 1
    body = raw[8 + len(head) :]
    head = head.replace(old, new)
    at = head.find(b'"sha256":"') + len(b'"sha256":"')
    head = head[:at] + b"0" * 64 + head[at + 64 :]
    head = len(head).to_bytes(8, "little") + head
    return head[: at + 8] + hashlib.sha256(head + body).hexdigest().encode() + head[at + 72 :] + body


def refused(path: Path, raw: bytes, match: str | None = None) -> None:
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match=match) as error:
        modelfile.read(path)
    assert error.value.exit_code == 4
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


def test_what_is_written_is_read(tmp_path: Path, blob: bytes, sealed: bytes) -> None:
    modelfile.write(tmp_path / "m", blob, HEADER)
    read = modelfile.read(tmp_path / "m")
    assert read.header == READ
    assert read.blob == sealed == (tmp_path / "m").read_bytes()


def test_the_metadata_has_two_keys(sealed: bytes) -> None:
    metadata = parsed(sealed)["__metadata__"]
    assert set(metadata) == {"clsfit", "sha256"}
    assert metadata["clsfit"] == json.dumps(READ, sort_keys=True, separators=(",", ":"))


def test_the_hash_is_over_the_file_with_zeros_in_its_place(sealed: bytes) -> None:
    digest = parsed(sealed)["__metadata__"]["sha256"]
    assert sealed.count(digest.encode()) == 1
    assert hashlib.sha256(sealed.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_any_safetensors_reader_loads_it(tmp_path: Path, sealed: bytes) -> None:
    assert {name for name, _ in safetensors.deserialize(sealed)} == set(TENSORS)
    (tmp_path / "m.safetensors").write_bytes(sealed)
    for name, tensor in safetensors.numpy.load_file(tmp_path / "m.safetensors").items():
        assert tensor.dtype == TENSORS[name].dtype
        np.testing.assert_array_equal(tensor, TENSORS[name])
    with safetensors.safe_open(tmp_path / "m.safetensors", "np") as file:
        assert json.loads(file.metadata()["clsfit"]) == READ


def test_torch_loads_it() -> None:
    import torch
    from safetensors.torch import load, save

    weights = {"w": torch.arange(15.0).reshape(3, 5), "h": torch.ones(4, dtype=torch.bfloat16)}
    loaded = load(modelfile.seal(save(weights), HEADER))
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)


def test_the_bytes_depend_on_nothing_but_the_content(blob: bytes, sealed: bytes) -> None:
    other = safetensors.numpy.save(dict(reversed(TENSORS.items())), {"z": "1", "y": "2"})
    assert modelfile.seal(other, dict(reversed(HEADER.items()))) == sealed
    assert modelfile.seal(sealed, HEADER) == sealed
    turned = json.dumps(dict(reversed(parsed(blob).items())), indent=3).encode()
    data = blob[8 + int.from_bytes(blob[:8], "little") :]
    assert modelfile.seal(len(turned).to_bytes(8, "little") + turned + data, HEADER) == sealed
    assert modelfile.seal(blob, HEADER | {"deep": 1}) != sealed


def test_tensors_begin_at_a_multiple_of_eight(blob: bytes) -> None:
    for n in range(8):
        assert int.from_bytes(modelfile.seal(blob, {"x": "y" * n})[:8], "little") % 8 == 0


def test_every_flipped_bit_of_the_header_is_found(tmp_path: Path, sealed: bytes) -> None:
    header = 8 + int.from_bytes(sealed[:8], "little")
    for bit in range(header * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        refused(tmp_path / "m", bytes(changed))


@SAMPLED
@given(data=st.data())
def test_every_flipped_bit_is_found(tmp_path: Path, sealed: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    refused(tmp_path / "m", bytes(changed))


def test_every_truncation_is_found(tmp_path: Path, sealed: bytes) -> None:
    for length in range(len(sealed)):
        refused(tmp_path / "m", sealed[:length])


@SAMPLED
@given(more=st.binary(min_size=1, max_size=70))
def test_appended_bytes_are_found(tmp_path: Path, sealed: bytes, more: bytes) -> None:
    refused(tmp_path / "m", sealed + more)


@SAMPLED
@given(start=st.integers(0, 400), block=st.binary(min_size=1, max_size=16))
def test_overwritten_blocks_are_found(tmp_path: Path, sealed: bytes, start: int, block: bytes) -> None:
    changed = sealed[:start] + block + sealed[start + len(block) :]
    if changed != sealed:
        refused(tmp_path / "m", changed)


def test_an_upper_case_digit_is_found(tmp_path: Path, sealed: bytes) -> None:
    digest = parsed(sealed)["__metadata__"]["sha256"].encode()
    refused(tmp_path / "m", sealed.replace(digest, digest.upper()), "malformed")


def test_a_plain_safetensors_file_is_no_model_file(tmp_path: Path, blob: bytes) -> None:
    refused(tmp_path / "m", blob, "no hash")


def test_a_second_hash_is_refused(tmp_path: Path, sealed: bytes) -> None:
    refused(tmp_path / "m", resealed(sealed, b'"__metadata__":{', b'"__metadata__":{"sha256":"x",'), "more than one")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"__metadata__":{', b'"__metadata__":{"more":"",'),
        (b'{"clsfit":', b'{"other":'),
        (b'"clsfit":"{', b'"clsfit":"[{'),
        (b'"__metadata__"', b'"__metadate__"'),
    ],
)
def test_metadata_that_others_wrote_is_refused(tmp_path: Path, sealed: bytes, old: bytes, new: bytes) -> None:
    refused(tmp_path / "m", resealed(sealed, old, new), "not written by clsfit")


def test_a_header_that_is_too_deep_is_refused(tmp_path: Path, sealed: bytes) -> None:
    deep = resealed(sealed, b'{"__metadata__"', b'{"deep":' + b"[" * 100_000 + b"]" * 100_000 + b',"__metadata__"')
    refused(tmp_path / "m", deep, "not written by clsfit")


def test_resealing_in_these_tests_gives_files_that_read(tmp_path: Path, sealed: bytes) -> None:
    (tmp_path / "m").write_bytes(resealed(sealed, b'"clsfit":', b'"clsfit": '))
    assert modelfile.read(tmp_path / "m").header == READ


def test_a_header_beyond_the_limit_is_refused_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blob: bytes, sealed: bytes
) -> None:
    monkeypatch.setattr(modelfile, "_LARGEST_HEADER", 100)
    refused(tmp_path / "m", sealed, "too large")
    with pytest.raises(ValueError, match="more than 100"):
        modelfile.seal(blob, HEADER)


@pytest.mark.parametrize("raw", [b"", b"1234567", (99).to_bytes(8, "little") + b"{}"])
def test_only_safetensors_can_be_sealed(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no safetensors file"):
        modelfile.seal(raw, {})


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such model file"):
        modelfile.read(tmp_path / "m")
    with pytest.raises(CheckpointError, match="cannot be read"):
        modelfile.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="no regular file"):
        modelfile.read(tmp_path / "pipe")


def test_missing_rights_are_the_surroundings_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: bytes
) -> None:
    def denied(path: Path) -> bytes:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(modelfile.durable, "read_file", denied)
    with pytest.raises(ResourceError, match="permission denied"):
        modelfile.read(tmp_path / "m")


def test_a_model_may_be_read_through_a_link(tmp_path: Path, sealed: bytes) -> None:
    (tmp_path / "m").write_bytes(sealed)
    (tmp_path / "link").symlink_to("m")
    assert modelfile.read(str(tmp_path / "link")).header == READ


def test_which_file_is_meant(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model file in this folder"):
        modelfile.resolve(tmp_path)
    for name in ("last.safetensors", "best.safetensors"):
        (tmp_path / name).write_bytes(b"")
        assert modelfile.resolve(str(tmp_path)) == tmp_path / name
    assert modelfile.resolve(tmp_path / "last.safetensors") == tmp_path / "last.safetensors"
    with pytest.raises(CheckpointError, match="no such model file") as error:
        modelfile.resolve(tmp_path / "nothing")
    assert error.value.exit_code == 4
