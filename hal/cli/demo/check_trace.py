#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demo's trace must hold all three processes, and every arrow that ends must begin."""
import json
import sys

events = json.load(open(sys.argv[1], encoding="utf-8"))["traceEvents"]
names = {event["args"]["name"] for event in events if event.get("name") == "process_name"}
problems = []
for wanted in ("host:0", "rank 0: photonic:0", "rank 1: photonic:0"):
    if not any(name.startswith(wanted) for name in names):
        problems.append(f"no row for {wanted} among {sorted(names)}")
begun = {event["id"] for event in events if event.get("ph") == "s"}
ended = {event["id"] for event in events if event.get("ph") == "f"}
if not ended:
    problems.append("no arrow ends")
if ended - begun:
    problems.append(f"{len(ended - begun)} arrows end and never began")
slices = [event for event in events if event.get("ph") == "X"]
if any(event["args"]["outcome"] != "done" for event in slices):
    problems.append("some work is not done")
print("\n".join(problems) if problems else f"{len(slices)} slices of {len(names)} processes, {len(ended)} arrows")
sys.exit(1 if problems else 0)
