#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs programs while every n-th allocation of the project's libraries fails (cmake/failing_allocations.cpp).

What a test expects may then fail, and does: a program is judged by how it ends. A crash, std::terminate(), a sanitizer's
report (leaks too) or a run that does not end is an error; any other exit is not, and neither is an abort for a test's own
hal::Exception on a thread of its own.

  tools/failing.py [--every N ...] [--limit SECONDS] [--program] [--each | --preload LIBRARY] PROGRAM [ARGUMENT ...]

--program counts what the project's code in the program itself asks for too, and not only the shared libraries. --each
runs every case of a Catch2 program by itself; the arguments pick the cases. --preload is for programs that are no tests:
lib/testing/halyard-failing.so of the build folder.
"""
import argparse
import os
import re
import signal
import subprocess
import sys

REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:")
ANEW = 5  # times, where two threads that end the program at once say too little
OWN = "instance of 'hal::Exception"  # only the C++ face's value() throws it, and no library calls that on a thread


def is_own(code, last_words):
    """Whether a test's own exception ended it, and nothing after that.

    A second thread that ends the same way says so in the middle of the first one's line, and names nothing.
    """
    told = terminations(last_words)
    return code == -signal.SIGABRT and bool(told) and OWN in told[-1]


def terminations(last_words):
    return [line for line in last_words.replace("terminate called recursively\n", "").splitlines() if "terminate called" in line]


def one(command, every, given):
    """What went wrong in one run, or None."""
    environment = dict(os.environ, HALYARD_FAIL_EVERY=every)
    if given.preload:
        environment["LD_PRELOAD"] = given.preload
    if given.program:
        environment["HALYARD_FAIL_PROGRAM"] = "1"
    for _ in range(ANEW):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              errors="replace", start_new_session=True) as child:
            late = False
            try:
                output, last_words = child.communicate(timeout=given.limit)
            except subprocess.TimeoutExpired:
                late = True
                os.killpg(child.pid, signal.SIGABRT)
                output, last_words = child.communicate()
        code = child.returncode
        whole = f"{output[-3000:]}\n{last_words[-3000:]}"
        if late:
            return f"did not end within {given.limit} s:\n{whole}"
        named = any(re.search(r"instance of '[^']|without", line) for line in terminations(last_words))
        if code != -signal.SIGABRT or "terminate called" not in last_words or named or is_own(code, last_words):
            break
    # A Catch2 program exits with its count of failed checks, which may be any number; only a signal's is negative.
    ended_badly = code < 0 or "terminate called" in last_words or any(report in last_words for report in REPORTS)
    if ended_badly and not is_own(code, last_words) or re.search(r"^(CRASH|TIMEOUT)", output, re.MULTILINE):
        return f"ended with {code}:\n{whole}"
    return None


def cases(command):
    """The names of a Catch2 program's cases, as its arguments would run them one by one."""
    listed = subprocess.run([command[0], "--list-test-names-only", *command[1:]], capture_output=True, text=True, check=False)
    return [[command[0], name.replace("\\", "\\\\").replace(",", "\\,").replace("[", "\\[")]
            for name in listed.stdout.splitlines() if name]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", action="append", metavar="N[:OFFSET]", help="may be given several times")
    parser.add_argument("--limit", type=float, default=120, metavar="SECONDS", help="for each run")
    parser.add_argument("--program", action="store_true", help="also in the program's own code")
    parser.add_argument("--each", action="store_true", help="each case of a Catch2 program by itself")
    parser.add_argument("--preload", metavar="LIBRARY")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.command:
        parser.error("no program was given")
    if given.preload and not os.path.exists(given.preload):  # the loader would do without
        parser.error(f"there is no {given.preload}")
    bad = 0
    commands = cases(given.command) if given.each else [given.command]
    if not commands:
        parser.error("there is no such case")
    for every in given.every or ["211", "53"]:
        problems = 0
        for command in commands:
            problem = one(command, every, given)
            if problem:
                print(f"every {every}: {' '.join(command)} {problem}", flush=True)
                problems += 1
        print(f"every {every}: {len(commands)} runs, {problems} ended badly", flush=True)
        bad += problems
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
