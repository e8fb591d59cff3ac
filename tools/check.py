#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""House rules that a compiler does not see: includes go down only, files stay short, every source names its licence.

Includes go cli -> layers -> core -> include. A backend uses hal/driver.h, the public headers, the driver kit and the graph
library, never the core; nothing includes a backend. With --format also runs clang-format 19 over every source.
"""
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = {".cpp", ".hpp", ".h", ".c", ".cu"}
MOST_LINES = 1200
# Folder -> prefixes of quoted includes that it must not use.
FORBIDDEN = {
    "hal/include": ("core/", "layers/", "cli/", "driver_kit/", "backends/", "graph/"),
    "hal/threads": ("core/", "layers/", "cli/", "driver_kit/", "backends/", "graph/", "hal/"),
    "hal/graph": ("core/", "layers/", "cli/", "driver_kit/", "backends/", "hal/driver.h"),
    "hal/driver_kit": ("core/", "layers/", "cli/", "backends/"),
    "hal/core": ("layers/", "cli/", "driver_kit/", "backends/"),
    "hal/layers": ("cli/", "driver_kit/", "backends/"),
    "hal/cli": ("core/", "layers/", "driver_kit/", "backends/"),
    "backends": ("core/", "layers/", "cli/"),
    "fabric": ("core/", "layers/", "cli/"),
    "conformance": ("core/", "layers/", "cli/"),
    "samples": ("core/", "layers/", "driver_kit/", "backends/"),
}
# What a vendor would ship: it must not know who calls it. How a library starts a thread (hal/threads) is nobody's.
NO_HAL = ("backends/rngd/driver", "backends/rngd/emulator", "backends/cuda/emulator", "backends/cuda/abi")
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)


def sources():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if pathlib.Path(name).suffix in SOURCES and (ROOT / name).exists()]


def problems(path):
    name = str(path.relative_to(ROOT))
    text = path.read_text(encoding="utf-8")
    if "SPDX-License-Identifier: Apache-2.0" not in text[:300]:
        yield "no SPDX line"
    if text.count("\n") > MOST_LINES:
        yield f"{text.count(chr(10))} lines; at most {MOST_LINES}"
    for included in INCLUDE.findall(text):
        for folder, prefixes in FORBIDDEN.items():
            if name.startswith(folder + "/") and included.startswith(prefixes):
                yield f'includes "{included}", which lies above it'
        if name.startswith(NO_HAL) and not name.endswith("_test.cpp") and included.startswith("hal/"):
            yield f'includes "{included}"; this part must not know the HAL'
        if name.startswith("hal/include/") and re.match(r"(cuda|level_zero|rdma|hwloc|dnnl|oneapi)", included):
            yield f'includes a vendor\'s header "{included}"'


def ordering():
    """Each sentence of docs/ordering.md names tests that exist, each mutation breaks something that does and has an outcome, and
    each clause has one."""
    cases = set()
    for path in (*(ROOT / "hal/core").glob("*_test.cpp"), *(ROOT / "hal/driver_kit").glob("*_test.cpp")):
        # A long name may stand on several lines, as literals that join.
        for literals in re.findall(r'TEST_CASE\(\s*((?:"[^"\n]*"\s*)+)', path.read_text(encoding="utf-8")):
            cases.add("".join(re.findall(r'"([^"\n]*)"', literals)))
    for path in (ROOT / "conformance/requirements").glob("*.toml"):
        cases.update(re.findall(r'^id = "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE))
    parts = re.split(r"^\*\*(ORD-\d+)\*\* ", (ROOT / "docs/ordering.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    sentences = dict(zip(parts[1::2], parts[2::2]))
    clauses = set()
    for sentence, text in sentences.items():
        rule, _, tests = text.partition("\n\n")[0].partition("Tests:")
        clauses.update(sentence + letter for letter in re.findall(r"\(([a-z])\)", rule) or [""])
        named = re.findall(r"`([^`]+)`", tests)
        if not named:
            yield f"docs/ordering.md: {sentence} names no test"
        for name in named:
            if name not in cases:
                yield f"docs/ordering.md: {sentence} names '{name}', which is no test case and no requirement"
    mutations = tomllib.loads((ROOT / "hal/core/mutations.toml").read_text(encoding="utf-8"))["mutation"]
    mutated = {mutation["sentence"] for mutation in mutations}
    document = (ROOT / "docs/ordering.md").read_text(encoding="utf-8")
    outcomes = set(re.findall(r"^\| (.+?) \| \S+ \| (?:killed|survived) \|", document, re.MULTILINE))
    for mutation in mutations:
        if mutation["what"] not in outcomes:
            yield f"docs/ordering.md: no outcome of the mutation '{mutation['what']}': run tools/mutate.py --only NAME --write"
    for unknown in sorted(mutated - clauses - cases):
        if not (ROOT / unknown).is_file():
            yield f"hal/core/mutations.toml: '{unknown}' is no clause of docs/ordering.md, no requirement and no file"
    for spared in sorted(clauses - mutated):
        yield f"hal/core/mutations.toml: no mutation breaks {spared}"


def main():
    bad = [f"{path.relative_to(ROOT)}: {what}" for path in sources() for what in problems(path)]
    bad += ordering()
    if "--format" in sys.argv[1:]:
        files = [str(path) for path in sources() if path.suffix != ".cu"]
        run = subprocess.run(["clang-format-19", "--dry-run", "--Werror", *files], capture_output=True, text=True, check=False)
        bad += sorted({line.split(":")[0] + ": not formatted" for line in run.stderr.splitlines() if ": error:" in line})
    print("\n".join(bad) if bad else "house rules: all kept")
    return 1 if bad else 0


sys.exit(main())
