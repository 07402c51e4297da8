"""Files that tell when they are damaged: written whole or not at all, with checksums to be compared on reading.

In: texts, folders. Out: the same on disk; on reading their content, or one line that names the damaged file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jaxvae.errors import CheckpointError

MANIFEST = "manifest.json"


def write(path: Path, content: str | bytes) -> None:
    """Replaces the file at once, so that a reader finds the old content or the new."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


# ── one file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def seal(content: dict[str, Any]) -> str:
    """JSON that carries its own SHA-256."""
    digest = hashlib.sha256(_text(content).encode()).hexdigest()
    return _text({**content, "sha256": digest})


def unseal(text: str) -> dict[str, Any]:
    """The content that `seal` was given.

    Raises:
        ValueError: a byte of the text is not what it was.
    """
    content = json.loads(text)
    if not isinstance(content, dict) or "sha256" not in content:
        raise ValueError("its SHA-256 is missing")
    del content["sha256"]
    if seal(content) != text:
        raise ValueError("its SHA-256 is not the recorded one")
    return content


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


# ── a folder ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_manifest(folder: Path) -> None:
    """manifest.json: the SHA-256 of all other files in the folder and below it, sealed."""
    (folder / MANIFEST).write_text(seal({"files": _digests(_files(folder))}), encoding="utf-8")


def verify(folder: Path, needed: Collection[str]) -> None:
    """Compares a folder's files with its manifest.

    Args:
        needed: files that must be there, whatever the manifest says.

    Raises:
        CheckpointError: a file is missing, was added or is not what it was; names it. Hidden files and the like, which
            desktops and editors leave in any folder, may be added.
    """
    path = folder / MANIFEST
    try:
        expected = _listed(path.read_bytes().decode())  # `read_text` would hide a changed end of a line
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (OSError, ValueError, KeyError, RecursionError):
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the recorded one") from None
    try:
        files = _files(folder)
        found = _digests({name: files[name] for name in files if name in expected or not _is_stray(name)})
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be read ({error.strerror})") from None
    for name in sorted({*needed, *expected, *found}):
        if name not in found:
            raise CheckpointError(f"{folder / name} is missing")
        if name not in expected:
            raise CheckpointError(f"{folder / name} does not belong there: the manifest does not list it")
        if expected[name] != found[name]:
            raise CheckpointError(f"{folder / name} is damaged: its SHA-256 is not the recorded one")


def _listed(text: str) -> dict[str, str]:
    """The files that a manifest names, with their SHA-256; format 1 had no seal."""
    content = json.loads(text)
    if not _are_digests(content):
        content = unseal(text)["files"]
    if not _are_digests(content):
        raise ValueError("it names no files")
    return content


def _are_digests(content: Any) -> bool:
    return isinstance(content, dict) and all(isinstance(d, str) and len(d) == 64 for d in content.values())


def _files(folder: Path) -> dict[str, Path]:
    """All but the manifest, by their name within the folder."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in files.items() if name != MANIFEST}


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def _is_stray(name: str) -> bool:
    """Whether a desktop or an editor leaves such a file: hidden, in a hidden folder, a backup, Windows' own."""
    *_, last = parts = name.split("/")
    return any(part.startswith(".") for part in parts) or last.endswith("~") or last in ("Thumbs.db", "desktop.ini")
