"""Has schemathesis ask a node whatever its description of the internal port allows and forbids, and judge the answers.

Arguments: the port's address, a token of role admin, the seed, and how many requests of each kind for each operation.
"""

import contextlib
import io
import os
import sys
import tempfile

import schemathesis
from schemathesis.cli import schemathesis as command

address, token, seed, examples = sys.argv[1:]

CONFIGURATION = """
[generation]
# A name is bounded in bytes, a string of a schema in characters: with ASCII they are the same.
codec = "ascii"
# No folder of past failures: a seed repeats a run.
database = "none"

# It would end the run.
[[operations]]
include-operation-id = "startDrain"
enabled = false

# A line that is no message is answered in its place, by a 200.
[[operations]]
include-operation-id = "sendMessages"
checks.negative_data_rejection.enabled = false

# An answer that does not end.
[[operations]]
include-path = "/v1/events"
enabled = false

# A schema cannot say that a ticket lives at most 5m, and a connection not in the past.
[[operations]]
include-operation-id = "makeTicket"
checks.positive_data_acceptance.enabled = false

# Nor that a time is not to come.
[[operations]]
include-operation-id = "skipLane"
checks.positive_data_acceptance.enabled = false

# Nor that the block is at most 30d.
[[operations]]
include-operation-id = "disconnectUser"
checks.positive_data_acceptance.enabled = false

# Nor that the spread is at most 1h, and that two parameters belong together. A spread takes its time.
[[operations]]
include-operation-id = "broadcast"
checks.positive_data_acceptance.enabled = false
parameters = { "query.timeout" = "20ms" }
"""


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


os.chdir(tempfile.mkdtemp())
with open("schemathesis.toml", "w", encoding="utf-8") as file:
    file.write(CONFIGURATION)
said = io.StringIO()
code = 0
with contextlib.redirect_stdout(said):
    try:
        command([
            "run", f"http://{address}/v1/openapi.json", "--no-color", "--phases", "examples,coverage,fuzzing",
            "--max-examples", examples, "--seed", seed, "--header", f"Authorization: Bearer {token}", "--continue-on-failure",
            "--request-timeout", "10", "--suppress-health-check", "all", "--warnings", "off",
        ])
    except SystemExit as end:
        code = end.code
print(said.getvalue(), file=sys.stderr if code else sys.stdout)
sys.exit(code)
