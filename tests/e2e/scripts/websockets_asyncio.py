import asyncio, sys, urllib.request
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

clients, internal = sys.argv[1:]

def ask(method, path, body=None):
    headers = {} if body is None else {"Content-Type": "text/plain" if isinstance(body, str) else "application/octet-stream"}
    body = body.encode() if isinstance(body, str) else body
    request = urllib.request.Request(f"http://{internal}/v1/{path}", body, headers, method=method)
    return urllib.request.urlopen(request, timeout=20).status

async def one(number):
    compression = None if number % 2 else "deflate"
    async with connect(f"ws://{clients}/ws?user=user-{number}", compression=compression) as ws:
        names = [extension.name for extension in ws.protocol.extensions]
        assert names == ([] if compression is None else ["permessage-deflate"]), names
        for text in ("", "ünï 🚀", "again and again " * 4096):
            await ws.send(text)
            assert await ws.recv() == text
        async def pieces():
            yield b"frag"
            yield b"ments"
        await ws.send(pieces())
        assert await ws.recv() == b"fragments"
        await (await ws.ping())
        for body in (f"for {number}", "a large one; " * 5000, bytes(range(256)) * 256):
            assert await asyncio.to_thread(ask, "POST", f"users/user-{number}/push", body) == 200
            assert await ws.recv() == body
    assert ws.close_code == 1000, ws.close_code

# Another with its name: the code says why, and it is up to the loop to end.
async def is_displaced(ws):
    async with connect(f"ws://{clients}/ws?user=ada&device=phone"):
        try:
            await ws.recv()
            raise SystemExit("not displaced")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "displaced"), closed

async def comes_back():
    heard = []
    async for ws in connect(f"ws://{clients}/ws?user=ada&device=phone"):
        assert await asyncio.to_thread(ask, "POST", "users/ada/push", f"round {len(heard)}") == 200
        heard.append(await ws.recv())
        if len(heard) == 3:
            await is_displaced(ws)
            break
        assert await asyncio.to_thread(ask, "DELETE", "users/ada") == 202
        assert await ws.recv() == "_CLOSE_"
        await ws.close()
        assert ws.close_code == 1000
    assert heard == ["round 0", "round 1", "round 2"], heard
    try:
        async for _ in connect(f"ws://{clients}/ws"):
            raise SystemExit("nobody was let in")
    except InvalidStatus as refused:
        assert refused.response.status_code == 401, refused

async def main():
    async with asyncio.timeout(25):
        await asyncio.gather(*(one(number) for number in range(10)), comes_back())

asyncio.run(main())
print("done")
