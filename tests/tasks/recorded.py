"""Files of stages with the records that DVC would have made of them, without running either."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from tasks.graph import needed, stages
from tasks.written import read


def model(name: str) -> bytes:
    """A safetensors file without a weight; equal names are equal bytes."""
    about = {"classes": ["a", "b"], "method": "FixMatch(weight=1.0)", "spec": {"name": name, "width": 4}}
    header = json.dumps({"__metadata__": {"tutelage": json.dumps(about)}}).encode()
    return struct.pack("<Q", len(header)) + header


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(folder: str, **files: Any) -> None:
    """Files of a folder; `__` in a name stands for the dot. Text, bytes, or what becomes JSON."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        written = content if isinstance(content, bytes) else json.dumps(content).encode()
        Path(folder, name.replace("__", ".")).write_bytes(written)


def entry(path: str, *, keep: bool = True) -> dict[str, Any]:
    """What dvc.lock says of a file or folder as it is now; DVC's cache gets its bytes."""
    place = Path(path)
    if place.is_file():
        return {"path": path, "hash": "md5", "md5": _kept(place.read_bytes(), "", keep), "size": place.stat().st_size}
    files = sorted(file for file in place.rglob("*") if file.is_file())
    listing = [
        {"md5": _kept(file.read_bytes(), "", keep), "relpath": file.relative_to(place).as_posix()} for file in files
    ]
    size = sum(file.stat().st_size for file in files)
    md5 = _kept(json.dumps(listing).encode(), ".dir", keep)
    return {"path": path, "hash": "md5", "md5": md5, "size": size, "nfiles": len(files)}


def _kept(content: bytes, suffix: str, keep: bool) -> str:
    md5 = hashlib.md5(content).hexdigest() + suffix
    copy = Path(".dvc/cache/files/md5", md5[:2], md5[2:])
    if keep:
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    return md5


def lock(*names: str, target: str = "judge") -> None:
    """dvc.lock gets these stages, or all that `target` needs, as if they had just run."""
    old = read(Path("dvc.lock").read_text())["stages"] if Path("dvc.lock").exists() else {}
    every = stages(Path())
    wanted = [stage for stage in every if stage.name in names] if names else list(needed(every, target))
    told, params = read(Path("dvc.yaml").read_text())["stages"], read(Path("params.yaml").read_text())
    for stage in wanted:
        written = told[stage.name.partition("@")[0]]
        own = written.get("do", written).get("params", [])
        old[stage.name] = {
            "cmd": stage.command,
            "deps": [entry(path, keep=False) for path in sorted(stage.reads)],
            "params": {"params.yaml": {name: params[name] for name in own if name in params}},
            "outs": [entry(path) for path in stage.writes],
        }
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": old}))  # which is YAML
