#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs programs while every n-th allocation of the project's libraries fails (cmake/failing_allocations.cpp).

What a test expects may then fail, and does: a program is judged by how it ends. A crash, std::terminate(), a sanitizer's
report (leaks too) or a run that does not end is an error; any other exit is not.

  tools/failing.py [--every N ...] [--limit SECONDS] [--preload LIBRARY] PROGRAM [ARGUMENT ...]

--preload is for programs that are no tests: lib/testing/halyard-failing.so of the build folder.
"""
import argparse
import os
import signal
import subprocess
import sys

REPORT = 86  # what a sanitizer ends a program with, so that it differs from a failed test
KILLED = 128


def one(command, every, limit, preload):
    """What went wrong in one run, or None."""
    environment = dict(os.environ, HALYARD_FAIL_EVERY=every)
    for name in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
        environment[name] = ":".join(filter(None, (environment.get(name), f"exitcode={REPORT}")))
    if preload:
        environment["LD_PRELOAD"] = preload
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", start_new_session=True) as child:
        try:
            output, _ = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGABRT)
            output, _ = child.communicate()
            return f"did not end within {limit} s:\n{output[-3000:]}"
    code = child.returncode
    if code < 0 or code > KILLED or code == REPORT or "terminate called" in output:
        return f"ended with {code}:\n{output[-3000:]}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", action="append", metavar="N[:OFFSET]", help="may be given several times")
    parser.add_argument("--limit", type=float, default=120, metavar="SECONDS", help="for each run")
    parser.add_argument("--preload", metavar="LIBRARY")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.command:
        parser.error("no program was given")
    bad = 0
    for every in given.every or ["211", "53"]:
        problem = one(given.command, every, given.limit, given.preload)
        print(f"every {every}: {problem or 'ended well'}", flush=True)
        bad += problem is not None
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
