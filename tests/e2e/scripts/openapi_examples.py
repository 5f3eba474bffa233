"""Sends what the description of the internal port says, and holds each answer to it.

Arguments: the port's address; tokens of role admin and send. A node with a queue and a limit of 64 KiB for messages; the user
ann is connected with the device phone, and reads.
"""

import copy
import http.client
import json
import re
import sys
import threading
import time
from urllib.parse import quote, urlencode

import jsonschema
import openapi_spec_validator

address, admin, sender = sys.argv[1:]

# What one node that is alone and has room never answers; the tests of the internal port and of the fleet provoke it.
ELSEWHERE = {
    ("pushToUser", "503"), ("broadcast", "503"), ("listDevices", "503"), ("stopBroadcast", "503"), ("disconnectUser", "503"),
    ("disconnectDevice", "503"), ("zuulIsConnected", "503"), ("zuulPush", "503"), ("pauseLane", "409"), ("resumeLane", "409"),
    ("skipLane", "409"), ("makeTicket", "409"), ("signIn", "503"), ("watch", "503"),
}


def request(method, target, headers, body=b""):
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request(method, target, body=body, headers=headers)
    answer = connection.getresponse()
    read = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, read


status, _, text = request("GET", "/v1/openapi.json", {})
assert status == 200, status
document = json.loads(text)
openapi_spec_validator.validate(document)


def resolved(part):
    while "$ref" in part:
        place = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            place = place[name]
        part = place
    return part


def strict(schema):
    """The same, for a node that is of the description's own release: it answers no field that is not described."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: strict(part) for name, part in schema.items()}
    if "properties" in schema and "required" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


components = {"schemas": strict(copy.deepcopy(document["components"]["schemas"]))}


def validate(value, schema, what):
    validator = jsonschema.Draft202012Validator({**schema, "components": components})
    faults = [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(value)]
    assert not faults, f"{what}: {faults}\n{value}"


operations = {}
for path, item in document["paths"].items():
    for method, operation in item.items():
        operations[operation["operationId"]] = (method.upper(), path, operation)
seen = set()


def check(name, status, headers, body, what):
    """Holds an answer to the description of its operation."""
    _, _, operation = operations[name]
    assert str(status) in operation["responses"], f"{what}: {status} is not described: {body}"
    seen.add((name, str(status)))
    response = resolved(operation["responses"][str(status)])
    for header, of in response.get("headers", {}).items():
        of = resolved(of)
        value = headers.get(header.lower())
        assert value is not None or not of.get("required"), f"{what}: no {header}"
        if value is not None:
            validate(value, of["schema"], f"{what}: {header}")
    content = response.get("content")
    if not content:
        assert body == b"", f"{what}: {body} where there is to be none"
        return None
    media = headers.get("content-type")
    assert media in content, f"{what}: {media}"
    schema = content[media].get("schema", {})
    if media == "application/json":
        value = json.loads(body)
    elif media == "application/x-ndjson":
        value = body.decode()
        for line in value.splitlines():
            validate(json.loads(line), {"$ref": "#/components/schemas/Answer"}, what)
    else:
        value = body.decode()
    validate(value, schema, what)
    return value


def target(name, path=None, query=None):
    """The operation's target with these values, else with its examples."""
    method, template, operation = operations[name]
    headers, pairs, found = {}, {}, template
    for parameter in map(resolved, operation.get("parameters", [])):
        key, place = parameter["name"], parameter["in"]
        value = (path or {}).get(key, parameter.get("example"))
        if place == "path":
            found = found.replace("{" + key + "}", quote(value, safe=""))
        elif place == "query" and query is None and value is not None:
            pairs[key] = value
        elif place == "header" and value is not None:
            headers[key] = value
    pairs.update(query or {})
    return method, found + ("?" + urlencode(pairs) if pairs else ""), headers


def ask(name, expected, path=None, query=None, body=b"", token=admin, more=None):
    method, where, headers = target(name, path, query)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    headers.update(more or {})
    answer = request(method, where, headers, body)
    what = f"{name}: {method} {where}"
    value = check(name, *answer, what)
    assert answer[0] == expected, f"{what}: {answer}"
    return value


def encoded(media, example):
    return json.dumps(example).encode() if media == "application/json" else example.encode()


# Every example of the description is what its schema says.
for name, (_, _, operation) in operations.items():
    for status, response in operation["responses"].items():
        for media, content in resolved(response).get("content", {}).items():
            if "example" in content:
                check(name, int(status), {"content-type": media, "retry-after": "1"}, encoded(media, content["example"]), name)
for line in operations["sendMessages"][2]["requestBody"]["content"]["application/x-ndjson"]["example"].splitlines():
    validate(json.loads(line), {"$ref": "#/components/schemas/Message"}, "the lines")
seen.clear()

# Those that only look, and those that push, with their examples.
LAST = ["stopBroadcast", "disconnectDevice", "disconnectUser", "startDrain", "cancelDrain"]
for name, (_, _, operation) in operations.items():
    if name in LAST or "x-streams" in operation:
        continue
    bodies = operation.get("requestBody", {}).get("content", {})
    examples = [(media, content["example"]) for media, content in bodies.items() if "example" in content] or [(None, "")]
    good = min(status for status in operation["responses"] if status < "300")
    for number, (media, example) in enumerate(examples):
        more = {"Content-Type": media} if media else {}
        body = encoded(media, example) if media else b""
        method, where, headers = target(name)
        # A second message of one id is a duplicate, and a second broadcast of one is another's.
        where = where.replace("id=m-1", f"id=m-{number}").replace("id=noon", f"id=noon-{number}")
        if operation["security"]:
            headers["Authorization"] = f"Bearer {admin}"
        answer = request(method, where, {**headers, **more}, body)
        check(name, *answer, f"{method} {where}")
        assert str(answer[0]) == good, (method, where, answer)

# What is wrong with a request, and who may not ask.
for name, (_, _, operation) in operations.items():
    responses = operation["responses"]
    if "x-streams" in operation:
        continue
    if operation["security"]:
        ask(name, 401, token=None)
        ask(name, 401, token="wrong")
    if "403" in responses and "400" in responses:
        ask(name, 403, token=None, more={"Sec-Fetch-Site": "cross-site"})
    method, where, headers = target(name)
    if method != "GET" or "token" not in str(operation["security"]):
        continue
    status, headers, body = request("PATCH", where, {})
    assert status in (405,), (name, status)
    if "secureToken" not in str(operation["security"]):
        validate(json.loads(body), {"$ref": "#/components/schemas/Error"}, name)
    assert headers["allow"], name
for name in ["getStats", "listNodes", "getDrain", "listLanes", "listDevices", "sendMessages", "deliver", "getOpenapi", "startDrain",
             "cancelDrain", "pauseLane", "resumeLane", "getSession", "signIn", "signOut", "getDemoPlaces"]:
    ask(name, 400, query={"tll": "5"})
for name in ["zuulIsConnected", "zuulPush"]:
    ask(name, 400, more={"X-CUSTOMER_ID": "a" * 257}, body=b"x" if name == "zuulPush" else b"")
    ask(name, 404, more={"X-CUSTOMER_ID": "nobody"}, body=b"x" if name == "zuulPush" else b"")
    ask(name, 403, more={"X-Zuul.push.secure.token": "wrong"}, token=None, body=b"x" if name == "zuulPush" else b"")
for name in ["getMetrics", "getPage", "getDemo"]:
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.putrequest("GET", operations[name][1], skip_host=True)
    for host in ["localhost", "127.0.0.1"]:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    value = check(name, answer.status, {key.lower(): text for key, text in answer.getheaders()}, body, "two hosts")
    assert value["error"] == "bad_host", value
ask("zuulPush", 204, body=b"")
ask("zuulPush", 200, body=b"hello")
for name, query in [("pushToUser", {}), ("broadcast", {}), ("zuulPush", None)]:
    ask(name, 413, query=query, body=b"x" * 65_537)
ask("pushToUser", 404, path={"user": "nobody"}, query={}, body=b"x")
assert ask("pushToUser", 400, query={"lane": "urgent"}, body=b"x")["error"] == "unknown_lane"
assert ask("pushToUser", 400, query={"ttl": "soon"}, body=b"x")["error"] == "bad_parameter"
assert ask("pushToUser", 400, query={}, body=b"\xff")["error"] == "bad_body"
ask("broadcast", 400, query={"spread": "2h"}, body=b"x")
ask("broadcast", 403, query={}, body=b"x", token=sender)
ask("listDevices", 404, path={"user": "nobody"})
for name in ["pauseLane", "resumeLane", "skipLane"]:
    ask(name, 404, path={"lane": "urgent"})
ask("skipLane", 400, query={"before": "soon"})
lines = "{\"text\":1}\n{\"user\":\"ann\",\"text\":\"a\",\"lane\":\"urgent\"}\n{\"user\":\"ann\",\"text\":\"b\"}\n"
answers = [json.loads(line) for line in ask("sendMessages", 200, query={}, body=lines.encode()).splitlines()]
assert [answer.get("error") for answer in answers] == ["bad_line", "unknown_lane", None], answers
for name in ["getOpenapi", "getPage", "getDemo"]:
    etag = request("GET", operations[name][1], {})[1]["etag"]
    ask(name, 304, more={"If-None-Match": etag})

ask("makeTicket", 400, body=b"{}")
ask("makeTicket", 413, body=b"{" + b" " * 9_000)

# The events, of which the first come at once.
connection = http.client.HTTPConnection(address, timeout=20)
connection.request("GET", "/v1/events", headers={"Authorization": f"Bearer {admin}"})
answer = connection.getresponse()
assert (answer.status, answer.getheader("content-type")) == (200, "text/event-stream"), answer.status
wanted = {"stats": "Stats", "drain": "Drain"}
while wanted:
    line = answer.readline().decode()
    assert line, "the stream has ended"
    if line.startswith("event: "):
        schema = wanted.pop(line.removeprefix("event: ").strip(), None)
        data = answer.readline().decode()
        assert data.startswith("data: "), data
        if schema:
            validate(json.loads(data.removeprefix("data: ")), {"$ref": f"#/components/schemas/{schema}"}, schema)
connection.close()

# A broadcast that is under way, and its end.
slow = threading.Thread(target=ask, args=("broadcast", 200, None, {"id": "slow", "spread": "10s", "timeout": "1s"}, b"x"))
slow.start()
time.sleep(0.3)
assert ask("broadcast", 409, query={"id": "slow"}, body=b"x")["error"] == "same_id"
ask("stopBroadcast", 202, path={"id": "slow"}, query={})
slow.join()
ask("stopBroadcast", 404, path={"id": "slow"}, query={})
ask("stopBroadcast", 400, query={"scope": "world"})

# The drain. It is a long one, and no connection is asked to leave before it is taken back.
ask("cancelDrain", 409)
assert ask("startDrain", 202)["phase"] == "delay"
assert ask("getDrain", 200)["origin"] == "api"
ask("readyz", 503)
ask("cancelDrain", 202)
ask("readyz", 200)

# Last, those that end connections.
ask("disconnectDevice", 202, query={})
ask("disconnectDevice", 400, path={"user": "a" * 257}, query={})
ask("disconnectDevice", 404, path={"device": "none"}, query={})
ask("disconnectUser", 404, path={"user": "nobody"}, query={})
ask("disconnectUser", 400, query={"block": "31d"})
ask("disconnectUser", 202)

described = {(name, status) for name, (_, _, operation) in operations.items() for status in operation["responses"]}
described -= {(name, status) for name, status in described if "x-streams" in operations[name][2]}
# That the role does not suffice is another test's.
missing = {(name, status) for name, status in described - seen - ELSEWHERE if status != "403"}
assert not missing, f"described, and never answered: {sorted(missing)}"
assert re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+.*", document["info"]["version"]), document["info"]
print(len(seen), "answers of", len(operations), "operations are as described")
