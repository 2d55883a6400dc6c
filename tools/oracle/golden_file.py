"""How goldens lie on disk: JSON for small cases, safetensors for named gradients."""

import hashlib
import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
written: dict[str, dict] = {}


def values(array: np.ndarray) -> list:
    """Numbers with the fewest digits that read back as the same f32 (or integer)."""
    flat = np.asarray(array).reshape(-1)
    if flat.dtype.kind in "iub":
        return [int(value) for value in flat]
    return [float(str(value)) for value in flat.astype(np.float32)]


def note(path: Path) -> None:
    """Puts a file into the manifest."""
    data = path.read_bytes()
    assert len(data) < 200_000, f"{path.name} has {len(data)} bytes; goldens stay below 200 kB each"
    written[path.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def write_json(name: str, content) -> None:
    """One case a line, so that a change shows as the cases it changed."""
    path = GOLDEN / name
    if isinstance(content, list):
        text = "[\n" + ",\n".join(json.dumps(item, separators=(",", ":")) for item in content) + "\n]\n"
    else:
        text = json.dumps(content, separators=(",", ":")) + "\n"
    path.write_text(text)
    note(path)


def write_safetensors(name: str, tensors: dict[str, np.ndarray]) -> None:
    """Length of the header, the header as JSON, then the f32 values of all tensors."""
    header, parts, offset = {}, [], 0
    for key, array in tensors.items():
        data = np.ascontiguousarray(array, dtype="<f4").tobytes()
        header[key] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = GOLDEN / name
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))
    note(path)


def write_manifest(facts: dict) -> None:
    """What made the files, and their sums."""
    assert sum(file["bytes"] for file in written.values()) < 1_500_000
    content = {**facts, "files": dict(sorted(written.items()))}
    (GOLDEN / "manifest.json").write_text(json.dumps(content, indent=1) + "\n")
