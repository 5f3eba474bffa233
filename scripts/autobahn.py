#!/usr/bin/env python3
"""Starts nodes, has Autobahn's fuzzing client test them, and fails unless every case behaves.

Usage: autobahn.py quick|all BINARY FOLDER, after scripts/autobahn has installed the suite in FOLDER.
"""

import collections
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

# Every data message comes back, however large, as often and as compressed as the suite likes; nobody is asked to leave.
SETTINGS = [
    "clients.echo_all=true",
    "clients.deflate_min=1",
    "limits.inbound_rate=off",
    "limits.message_bytes=32MiB",
    "limits.outbox_bytes=64MiB",
    "lifetime.mean=10h",
    "limits.memory=off",
    "log.level=warn",
]
ACCEPTED = {"OK", "INFORMATIONAL"}
START_S = 30
# All cases of sections 12 and 13 take minutes; a case that hangs has a time-out of the suite's own.
RUN_S = 3600

BASIC = [f"{section}.*" for section in (1, 2, 3, 4, 5, 6, 7, 10)]
FIRST_OF_DEFLATE = [f"12.1.{case}" for case in range(1, 7)] + [f"13.{setting}.1" for setting in range(1, 8)]
SHARDS = (1, 2)
# Cases, and how many those are: a report that lacks some is no success.
RUNS = {
    "quick": ([*BASIC, "9.*", *FIRST_OF_DEFLATE], 314),
    "all": (["*"], 517),
}


@contextlib.contextmanager
def node(binary, shards, folder):
    """A running node; gives the address of its client port."""
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    command = [binary, "serve", "--clients", "127.0.0.1:0", "--internal", "127.0.0.1:0"]
    command += ["--shards", str(shards), "--ready-file", str(ready)]
    for setting in SETTINGS:
        command += ["--set", setting]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    process = subprocess.Popen(command, env=environment)
    try:
        deadline = time.monotonic() + START_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"autobahn: the node did not start ({process.poll()})")
            time.sleep(0.01)
        yield json.loads(ready.read_text())["clients"]
        if process.poll() is not None:
            sys.exit(f"autobahn: the node ended by itself ({process.poll()})")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()


def run(binary, folder, shards, cases, expected):
    """One run of the suite; says whether all behaved."""
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "reports" / "index.json"
    index.unlink(missing_ok=True)
    began = time.monotonic()
    with node(binary, shards, folder) as address:
        specification = folder / "fuzzingclient.json"
        server = {"agent": "holdfast", "url": f"ws://{address}/ws?user=a"}
        specification.write_text(json.dumps({
            "outdir": str(folder / "reports"),
            "servers": [server],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }))
        suite = folder.parent / "suite" / "bin" / "wstest"
        with open(folder / "log", "w") as log:
            command = [suite, "-m", "fuzzingclient", "-s", specification]
            subprocess.run(command, stdout=log, stderr=log, check=True, timeout=RUN_S)
    results = json.loads(index.read_text())["holdfast"]
    counts = collections.Counter(result["behavior"] for result in results.values())
    listed = ", ".join(f"{count} {behavior}" for behavior, count in counts.most_common())
    print(f"autobahn, shards {shards}: {len(results)} cases in {time.monotonic() - began:.0f} s: {listed}")
    good = len(results) == expected
    if not good:
        print(f"  {expected} cases were expected")
    for case, result in results.items():
        if {result["behavior"], result["behaviorClose"]} <= ACCEPTED:
            continue
        report = folder / "reports" / result["reportfile"]
        print(f"  {case}: {result['behavior']}, close {result['behaviorClose']}; see {report}")
        good = False
    return good


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in RUNS:
        sys.exit(__doc__)
    selection, binary, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve()
    cases, expected = RUNS[selection]
    good = [run(binary, folder / f"shards-{shards}", shards, cases, expected) for shards in SHARDS]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
