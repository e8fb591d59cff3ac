#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the paths of the library to a number of instructions.

    tools/instructions.py PROGRAM [--limits FILE] [--update] [PATH...]

PROGRAM is the built hal_instructions, or hal_recorder_instructions. Each path is run twice under callgrind, with
different counts; the difference by the difference of the counts is what one operation takes, whatever else the machine
does. Unlike times, it is the same on every run, so it can fail a build: more than 2 % above the limit in
tools/instructions.toml does. --update writes what was found as new limits. Exits 77, with the reason, where there is no
valgrind.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

TOLERANCE = 0.02
FEW, MANY = 20, 220  # runs of a path
GROUP = 256  # operations of one run
SKIPPED = 77


def counted(program, path, count):
    run = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, path, str(count)],
                         capture_output=True, text=True, timeout=300, check=False)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or found is None:
        sys.exit(f"{path}: {program} under valgrind exited {run.returncode}\n{run.stderr[-2000:]}")
    return int(found.group(1))


def instructions(program, path):
    return (counted(program, path, MANY) - counted(program, path, FEW)) / ((MANY - FEW) * GROUP)


def write(file, head, found):
    lines = [head.rstrip("\n"), ""] if head else []
    file.write_text("\n".join(lines + ["[limits]"] + [f'"{path}" = {count:.0f}' for path, count in found.items()]) + "\n",
                    encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="instructions of the library's paths against their limits")
    parser.add_argument("program")
    parser.add_argument("paths", nargs="*", help="only these")
    parser.add_argument("--limits", type=pathlib.Path, default=pathlib.Path(__file__).with_suffix(".toml"))
    parser.add_argument("--update", action="store_true", help="write what is found as the new limits")
    given = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed, so nothing counts instructions")
        return SKIPPED
    text = given.limits.read_text(encoding="utf-8")
    limits = tomllib.loads(text)["limits"]
    known = subprocess.run([given.program, "--list"], capture_output=True, text=True, check=True).stdout.splitlines()
    if unknown := sorted(set(given.paths) - set(known)):
        print(f"no path {', '.join(unknown)}; there are: {', '.join(known)}")
        return 2
    failed, found = [], dict(limits)
    for path in given.paths or known:
        count = found[path] = instructions(given.program, path)
        limit = limits.get(path)
        if limit is None:
            verdict = "no limit is written"
            failed.append(path)
        elif count > limit * (1 + TOLERANCE):
            verdict = f"limit {limit}: {100 * (count / limit - 1):.1f} % above"
            failed.append(path)
        elif count < limit * (1 - TOLERANCE):
            verdict = f"limit {limit}: {100 * (1 - count / limit):.1f} % better; lower it with --update"
        else:
            verdict = f"limit {limit}: kept"
        print(f"{path:16} {count:8.1f} instructions   {verdict}", flush=True)
    if given.update:
        write(given.limits, text.split("[limits]")[0], found)
        return 0
    if failed:
        print(f"{len(failed)} above the limits of {given.limits.name}: {', '.join(failed)}")
    return 1 if failed else 0


sys.exit(main())
