import sys
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

clients = sys.argv[1]
with connect(f"ws://{clients}/ws?user=ada&device=tab", open_timeout=20) as first:
    with connect(f"ws://{clients}/ws?user=ada&device=tab", open_timeout=20):
        try:
            first.recv(timeout=20)
            raise SystemExit("not displaced")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "displaced"), closed
try:
    with connect(f"ws://{clients}/ws", open_timeout=20):
        raise SystemExit("nobody was let in")
except InvalidStatus as refused:
    assert refused.response.status_code == 401, refused
print("done")
