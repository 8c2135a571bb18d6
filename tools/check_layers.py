#!/usr/bin/env python3
"""Who may include whom: every file named LAYERS, checked.   usage: tools/check_layers.py [ROOT]

A line of src/LAYERS is a room of src/ and the rooms it may include besides itself and include/.  A room may only name
rooms above it in the file, so there are no cycles.  Programs and bindings (apps/, bindings/) include include/ and
src/base only; a program with rooms of its own has a LAYERS of its own, and what lies beside that file may include all
of them.  Tests may include anything, and nothing includes tests or apps."""
import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
SOURCES = {".c", ".h", ".def", ".cu", ".cuh"}


def read_layers(path, root, report):
    """The rooms of a LAYERS file, each with the set of those it may include."""
    allowed = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        for word in words[1:]:
            if word not in allowed:
                report(f"{path.relative_to(root)}:{number}: {words[0]} names {word}, which does not stand above it")
        allowed[words[0]] = set(words)
    return allowed


def includes(path):
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1)


def room_of(target, folder, root):
    """The room that `target`, included by a file in `folder`, belongs to; None for the public headers and for files
    that lie beside the one that includes them."""
    if (folder / target).exists() and not (root / "src" / target).exists():
        target = (folder / target).resolve().relative_to(root).as_posix()
        if target.startswith("src/"):
            target = target[len("src/"):]
        elif target.startswith(folder.relative_to(root).as_posix() + "/") or target.startswith("include/"):
            return None
    return None if target.startswith("klinear/") else target.split("/")[0]


def check_rooms_exist(folder, allowed, root, report):
    for room in sorted(p for p in folder.iterdir() if p.is_dir()):
        if room.name not in allowed:
            report(f"{room.relative_to(root)}: the room has no line in {folder.relative_to(root)}/LAYERS")


def check_program(folder, root, report):
    """The rooms of one program: they find each other through ../ROOM/."""
    allowed = read_layers(folder / "LAYERS", root, report)
    check_rooms_exist(folder, allowed, root, report)
    for path in sorted(p for p in folder.rglob("*") if p.suffix in SOURCES and p.parent != folder):
        room = path.relative_to(folder).parts[0]
        for number, target in includes(path):
            beside = (path.parent / target).resolve()
            if not beside.exists() or folder not in beside.parents:
                continue
            found = beside.relative_to(folder).parts[0]
            if found != room and found not in allowed.get(room, ()):
                report(f"{path.relative_to(root)}:{number}: {room}/ may not include {found} ({target})")


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    problems = []
    report = problems.append
    allowed = read_layers(root / "src" / "LAYERS", root, report)
    check_rooms_exist(root / "src", allowed, root, report)
    for top in ("include", "src", "apps", "bindings"):
        for path in sorted(p for p in (root / top).rglob("*") if p.suffix in SOURCES):
            name = path.relative_to(root).as_posix()
            room = name.split("/")[1] if top == "src" else top
            may = allowed.get(room, {room}) if top == "src" else {"base"} if top != "include" else set()
            for number, target in includes(path):
                found = room_of(target, path.parent, root)
                if found is not None and found not in may and not (top in ("apps", "bindings") and found == top):
                    report(f"{name}:{number}: {room}/ may not include {found}/ ({target})")
    for layers in sorted((root / "apps").glob("*/LAYERS")):
        check_program(layers.parent, root, report)
    print("\n".join(problems) if problems else "layers: fine")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
