import socket, sys, threading
from websockets.sync.client import connect

print("started")
sys.stdin.readline()
address = sys.argv[1]
host, port = address.split(":")
with connect(f"ws://{address}/ws?user=away&device=ws&ping=1", open_timeout=20, ping_interval=None) as ws:
    stream = socket.create_connection((host, int(port)), timeout=60)
    stream.sendall(b"GET /sse?user=away&device=sse&ping=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert stream.recv(15) == b"HTTP/1.1 200 OK"

    def read():
        while stream.recv(4096):
            pass

    threading.Thread(target=read, daemon=True).start()
    print("open")
    print(ws.recv(timeout=60))
    sys.stdin.readline()
