#!/usr/bin/env python3
"""Checks that every crate in Cargo.lock comes from crates.io and has a licence that the project may ship under."""

import json
import re
import subprocess
import sys

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "ISC", "MIT", "MIT-0", "OpenSSL", "Unicode-3.0", "Unlicense", "Zlib",
}
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def allowed(expression):
    """Reads an SPDX expression: OR binds weaker than AND; "/" is an old spelling of OR."""
    tokens = re.findall(r"\(|\)|\bAND\b|\bOR\b|[^\s()]+(?: WITH [^\s()]+)?", expression.replace("/", " OR "))

    def either():
        result = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            result = both() or result
        return result

    def both():
        result = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            result = one() and result
        return result

    def one():
        token = tokens.pop(0)
        if token != "(":
            return token in ALLOWED
        result = either()
        tokens.pop(0)
        return result

    return either()


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    packages = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packages"]
    faults = []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        if package["source"] not in (None, REGISTRY):
            faults.append(f"{name}: comes from {package['source']}")
        if not package["license"]:
            faults.append(f"{name}: names no licence")
        elif not allowed(package["license"]):
            faults.append(f"{name}: {package['license']} is not among the allowed licences")
    for fault in faults:
        print(f"licences: {fault}", file=sys.stderr)
    print(f"licences: {len(packages)} crates looked at, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
