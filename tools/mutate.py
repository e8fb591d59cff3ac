#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks the core in one place at a time and sees whether its tests notice.

hal/core/mutations.toml lists the mutations: file, exact text, replacement, and what it breaks: a sentence of docs/ordering.md, a
requirement of the conformance suite, or a header whose contract it is. Each is applied in a scratch worktree of HEAD, libhal
and the tests are rebuilt, and these run with a time limit: the order tests, or those that the mutation names. Killed by a
failing test, a crash or a hang is killed; anything else survived, and needs a new test or an argument in the list
("equivalent").
A mutation that names a requirement of the conformance suite has to be killed by that one's case too, on the host device: no
seeded fault of a driver can break what the core alone keeps.

  tools/mutate.py [--only GLOB] [--scratch DIR] [--write] [--no-update]

--write puts the table of results into docs/ordering.md. The scratch folder is kept, so that the next run builds little.
"""
import argparse
import fnmatch
import pathlib
import re
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = "hal/core/mutations.toml"
DOCUMENT = ROOT / "docs/ordering.md"
BEGIN, END = "<!-- mutations: begin -->", "<!-- mutations: end -->"
TESTS = "core_test order:*"  # a program, and which of its cases; or the suite's case of the requirement that is broken
SUITE = "suite"
TEST_LIMIT_S = 45  # the tests take seconds; a mutant that hangs costs this much


def run(*command, **more):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **more)


def scratch_tree(folder, update):
    """A worktree of HEAD with a build folder of its own. Returns both paths."""
    tree, build = folder / "tree", folder / "build"
    if not tree.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = run("git", "-C", ROOT, "worktree", "add", "--detach", tree, "HEAD")
        if made.returncode != 0:
            sys.exit(f"mutate: no scratch worktree at {tree}: {made.stderr.strip()}")
    elif update:
        head = run("git", "-C", ROOT, "rev-parse", "HEAD").stdout.strip()
        run("git", "-C", tree, "checkout", "--force", "--detach", head)
    run("git", "-C", tree, "checkout", "--force", ".")
    if not (build / "build.ninja").exists():
        made = run("cmake", "--preset", "dev", "-B", build, cwd=tree)
        if made.returncode != 0:
            sys.exit(f"mutate: the scratch tree cannot be configured:\n{made.stdout[-2000:]}{made.stderr[-2000:]}")
    return tree, build


def compile_targets(build, *targets):
    return run("ninja", "-j1", "-C", build, *targets)


def targets(tests):
    return ["halyard-conformance", "halyard-host"] if tests == SUITE else [tests.split(" ")[0]]


def run_tests(build, tests, limit=TEST_LIMIT_S):
    """The name of what failed, or None."""
    name, _, cases = tests.partition(" ")
    try:
        done = run(build / "bin" / name, *([cases, "-a"] if cases else []), timeout=limit)
    except subprocess.TimeoutExpired:
        return "hang: the tests did not end"
    if done.returncode == 0:
        return None
    # A failing section prints a line of dashes, the test's name, and a line of dashes.
    found = re.search(r"^-{20,}\n([^-\s].*(?:\n  .+)*)\n-{20,}$", done.stdout, re.MULTILINE)
    case = " ".join(found.group(1).split()) if found else name
    return case if done.returncode > 0 else f"crash in: {case}"


def suite_fails(build, requirement):
    """Whether the conformance suite's case of that requirement finds it broken."""
    try:
        done = run(build / "bin/halyard-conformance", "--device", "host:0", "--case", requirement, "--quiet", timeout=TEST_LIMIT_S)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def mutated(text, mutation):
    count = text.count(mutation["text"])
    if count != 1:
        return None, f"its text occurs {count} times, not once"
    return text.replace(mutation["text"], mutation["with"]), None


def try_one(mutation, tree, build):
    path = tree / mutation["file"]
    original = path.read_text(encoding="utf-8")
    changed, problem = mutated(original, mutation)
    if problem:
        return "stale", problem
    path.write_text(changed, encoding="utf-8")
    try:
        tests = mutation.get("tests", TESTS)
        made = compile_targets(build, "hal", *targets(tests))
        if made.returncode != 0:
            error = re.search(r"error: .*", made.stdout)
            return "does not build", error.group(0) if error else "?"
        requirement = mutation.get("requirement")
        if tests == SUITE:
            sentence = mutation["sentence"]
            killer = sentence if suite_fails(build, sentence) else None
        else:
            killer = run_tests(build, tests)
        if requirement and not suite_fails(build, requirement):
            return "survived", ""
        if killer and requirement:
            killer += f"; {requirement}"
        return ("killed", killer) if killer else ("survived", mutation.get("equivalent", ""))
    finally:
        path.write_text(original, encoding="utf-8")


def write(rows, mutations):
    """Puts the rows into the document's table; those of mutations that were not tried stay as they are."""
    text = DOCUMENT.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    old, tail = rest.split(END)
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in old.splitlines() if line.startswith("| ")}
    for mutation, outcome, by in rows:
        lines[mutation["what"]] = f"| {mutation['what']} | {mutation['sentence']} | {outcome} | {by.replace('|', '/')} |"
    kept = []
    for mutation in mutations:
        if mutation["what"] in lines:
            what, _, *rest = lines[mutation["what"]].split(" | ")
            kept.append(" | ".join([what, mutation["sentence"], *rest]))  # as the list has it now
    killed = sum(line.split(" | ")[2] == "killed" for line in kept)
    made = [BEGIN, "", f"{killed} of {len(kept)} killed.", "", "| mutation | breaks | outcome | by |", "|---|---|---|---|", *kept, "", END]
    DOCUMENT.write_text(head + "\n".join(made) + tail, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="*", help="mutations whose 'what', file or sentence matches; several with '|'")
    parser.add_argument("--scratch", type=pathlib.Path, default=ROOT / "build/mutants")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--no-update", action="store_true", help="leave the scratch tree at the commit that it has")
    options = parser.parse_args()
    with open(ROOT / LIST, "rb") as file:
        mutations = tomllib.load(file)["mutation"]
    chosen = [m for m in mutations if any(fnmatch.fnmatch(m[key], glob) for glob in options.only.split("|") for key in ("what", "file", "sentence"))]
    tree, build = scratch_tree(options.scratch.resolve(), not options.no_update)
    suite = {m["requirement"] for m in chosen if "requirement" in m} | {m["sentence"] for m in chosen if m.get("tests") == SUITE}
    tests = sorted({m.get("tests", TESTS) for m in chosen} - {SUITE})
    made = compile_targets(build, *sorted({target for one in tests + [SUITE] * bool(suite) for target in targets(one)}))
    if made.returncode != 0:
        sys.exit(f"mutate: the unchanged tree does not build:\n{made.stdout[-2000:]}")
    for one in tests:
        if killer := run_tests(build, one, 2 * TEST_LIMIT_S):
            sys.exit(f"mutate: the unchanged tree fails: {killer}")
    if broken := [requirement for requirement in sorted(suite) if suite_fails(build, requirement)]:
        sys.exit(f"mutate: the unchanged tree fails: {', '.join(broken)}")
    rows = []
    for mutation in chosen:
        start = time.monotonic()
        outcome, by = try_one(mutation, tree, build)
        rows.append((mutation, outcome, by))
        print(f"{outcome:14} {mutation['sentence']:8} {mutation['what']}: {by} ({time.monotonic() - start:.0f} s)", flush=True)
        if options.write:
            write(rows, mutations)
    bad = [row for row in rows if row[1] != "killed" and not (row[1] == "survived" and row[2])]
    print(f"{len(rows)} mutations, {sum(row[1] == 'killed' for row in rows)} killed, {len(bad)} to look at")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
