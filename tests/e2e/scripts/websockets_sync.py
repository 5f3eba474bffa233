import sys, urllib.request
from websockets.sync.client import connect

clients, internal = sys.argv[1:]

def push(user, body, content_type):
    headers = {"Content-Type": content_type}
    request = urllib.request.Request(f"http://{internal}/v1/users/{user}/push", body, headers, method="POST")
    return urllib.request.urlopen(request, timeout=20).status

for compression in (None, "deflate"):
    with connect(f"ws://{clients}/ws?user=ada", compression=compression, open_timeout=20) as ws:
        names = [extension.name for extension in ws.protocol.extensions]
        assert names == ([] if compression is None else ["permessage-deflate"]), names
        for text in ("", "hello", "ünï 🚀", "again and again " * 2000):
            ws.send(text)
            assert ws.recv(timeout=20) == text
        ws.send([b"frag", b"ments", b"\x00\xff"])
        assert ws.recv(timeout=20) == b"fragments\x00\xff"
        assert ws.ping().wait(20)
        for body in ("short", "a large one that repeats itself; " * 3000):
            assert push("ada", body.encode(), "text/plain") == 200
            assert ws.recv(timeout=20) == body
        assert push("ada", bytes(range(256)), "application/octet-stream") == 200
        assert ws.recv(timeout=20) == bytes(range(256))
    assert ws.close_code == 1000, ws.close_code
print("done")
