#!/usr/bin/python3
"""Makes tests/golden/<operator>.klg: inputs and what every operator and its backward must give, in float64.

    make_golden.py            writes the files
    make_golden.py --check    fails unless the stored files are what this script makes
    make_golden.py --list     names the cases and their sizes

Needs python3 and numpy.  The formulas are in tools/reference, the format in tools/reference/klg.py.  Gradients come
from the tape of tools/reference/num.py; every run checks each of them against complex steps first.
"""
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from reference import klg  # noqa: E402
from reference.cases_delta import delta_cases  # noqa: E402
from reference.cases_other import other_cases  # noqa: E402

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
GRADIENT_TOLERANCE = 1e-11


def make():
    """{operator: [(case name, records)]}, gradients checked."""
    made = {}
    for case in delta_cases() + other_cases():
        error = case.check_gradients()
        if not error < GRADIENT_TOLERANCE:
            sys.exit(f"{case.op}/{case.name}: tape and complex step differ by {error:.2g}")
        made.setdefault(case.op, []).append((case.name, case.arrays()))
    return made


def difference(stored, made):
    """None when two arrays agree: inputs in every bit, results to the rounding that a library may change."""
    stored, made = np.asarray(stored), np.asarray(made)
    if stored.dtype != made.dtype or stored.shape != made.shape:
        return f"is {stored.dtype}{list(stored.shape)}, the script makes {made.dtype}{list(made.shape)}"
    if stored.dtype != np.float64 or stored.ndim == 0:
        return None if stored.tobytes() == made.tobytes() else "has other values than the script makes"
    if not np.allclose(stored, made, rtol=1e-11, atol=1e-13, equal_nan=True):
        return f"differs by up to {np.nanmax(np.abs(stored - made)):.3g} from what the script makes"
    return None


def check_file(op, cases):
    """Sentences on everything that is wrong with the stored file of an operator."""
    path = FOLDER / f"{op}.klg"
    if not path.exists():
        return [f"{path.name} is missing"]
    stored = klg.decode(path.read_bytes())
    if [name for name, _ in stored] != [name for name, _ in cases]:
        return [f"{path.name} holds other cases than the script makes"]
    wrong = []
    for (name, found), (_, wanted) in zip(stored, cases):
        if list(found) != list(wanted):
            wrong.append(f"{path.name}: {name} holds other records than the script makes")
            continue
        texts = {key: difference(found[key], wanted[key]) for key in wanted}
        wrong += [f"{path.name}: {name}: {key} {text}" for key, text in texts.items() if text]
    return wrong


def main(arguments):
    if arguments not in ([], ["--check"], ["--list"]):
        sys.exit(__doc__)
    made = make()
    if arguments == ["--list"]:
        for op, cases in made.items():
            for name, arrays in cases:
                print(f"{op}/{name}: {len(klg.encode([(name, arrays)])) - 8} bytes, {', '.join(arrays)}")
    elif arguments == ["--check"]:
        wrong = [text for op, cases in made.items() for text in check_file(op, cases)]
        extra = sorted({p.stem for p in FOLDER.glob("*.klg")} - set(made))
        wrong += [f"{name}.klg is not made by the script" for name in extra]
        n_case = sum(map(len, made.values()))
        print("\n".join(wrong) or f"{n_case} cases in {len(made)} files are what the script makes")
        sys.exit(1 if wrong else 0)
    else:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for op, cases in made.items():
            (FOLDER / f"{op}.klg").write_bytes(klg.encode(cases))


if __name__ == "__main__":
    main(sys.argv[1:])
