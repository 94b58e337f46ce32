"""Packs source text under node_modules into the byte corpus that train.py reads.

    python3 trace/pack_corpus.py [--root node_modules] [--out trace/.corpus]

Writes train.xz and heldout.xz (whole packages are held out, so no file and no sibling of a file is in both), export.txt
(the start of one held-out file, the text whose activations are committed) and manifest.json (what went in, under which
licences, and how much of the held-out text also occurs in the training text). Files of a package stay adjacent, with a
zero byte between files, so that a context of thousands of bytes has something far away worth attending to.
"""

import argparse
import collections
import json
import lzma
from pathlib import Path

SUFFIXES = {".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".md", ".py", ".c", ".cc", ".h"}
HELD_OUT = {"commander", "fast-check", "yaml", "zx"}
EXPORT_FILE = "commander/lib/command.js"
MAX_PACKAGE_BYTES = 8 << 20  # no single package may dominate
MAX_MEAN_LINE = 100  # longer means minified or generated tables
MAX_SEEN_SHARE = 0.6  # a file with more known lines than this is another build of a file already in


def long_lines(data: bytes) -> list[int]:
    """Hashes of the lines that are long enough to identify text."""
    return [hash(line) for raw in data.split(b"\n") if len(line := raw.strip()) >= 24]


def packages(root: Path) -> list[Path]:
    top = [p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
    scoped = [p for scope in top if scope.name.startswith("@") for p in scope.iterdir() if p.is_dir()]
    return sorted([p for p in top if not p.name.startswith("@")] + scoped)


def package_text(package: Path, seen: set[int]) -> tuple[list[bytes], int]:
    files, size = [], 0
    for path in sorted(package.rglob("*")):
        if path.suffix not in SUFFIXES or not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        lines = long_lines(data)
        minified = len(data) > MAX_MEAN_LINE * (data.count(b"\n") + 1)
        repeated = sum(line in seen for line in lines) > MAX_SEEN_SHARE * len(lines)
        if len(data) < 200 or b"\0" in data or minified or repeated or size + len(data) > MAX_PACKAGE_BYTES:
            continue
        seen.update(lines)
        files.append(data)
        size += len(data)
    return files, size


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--root", type=Path, default=Path("node_modules"))
    arguments.add_argument("--out", type=Path, default=Path("trace/.corpus"))
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    seen: set[int] = set()
    text = {"train": [], "heldout": []}
    manifest = {"packages": {}, "licences": collections.Counter()}
    for package in packages(options.root):
        name = package.relative_to(options.root).as_posix()
        split = "heldout" if name in HELD_OUT else "train"
        files, size = package_text(package, set() if split == "heldout" else seen)
        if not files:
            continue
        about = json.loads((package / "package.json").read_text()) if (package / "package.json").exists() else {}
        licence = about.get("license") if isinstance(about.get("license"), str) else "not stated"
        facts = {"version": about.get("version"), "licence": licence, "split": split, "files": len(files), "bytes": size}
        manifest["packages"][name] = facts
        manifest["licences"][licence] += 1
        text[split] += files

    held = [line for data in text["heldout"] for line in long_lines(data)]
    export = (options.root / EXPORT_FILE).read_bytes()
    export_lines = long_lines(export)
    manifest["export_file"] = EXPORT_FILE
    manifest["heldout_lines_in_train"] = sum(line in seen for line in held) / len(held)
    manifest["export_lines_in_train"] = sum(line in seen for line in export_lines) / len(export_lines)
    for split, files in text.items():
        joined = b"\0".join(files)
        manifest[f"{split}_bytes"], manifest[f"{split}_files"] = len(joined), len(files)
        (options.out / f"{split}.xz").write_bytes(lzma.compress(joined, preset=6))
    (options.out / "export.txt").write_bytes(export)
    (options.out / "manifest.json").write_text(json.dumps(manifest, indent=1))
    print({key: value for key, value in manifest.items() if key != "packages"})


if __name__ == "__main__":
    main()
