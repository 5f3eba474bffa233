import asyncio, sys
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

clients, good, bad = sys.argv[1:]
url = f"ws://{clients}/ws?device=python"

async def main():
    for compression in (None, "deflate"):
        async with connect(url, compression=compression, open_timeout=20) as ws:
            await (await ws.ping())
            await ws.send(good)
            await ws.send("ECHO known")
            assert await asyncio.wait_for(ws.recv(), 20) == "ECHO known"
            await (await ws.ping())
        assert ws.close_code == 1000, ws.close_code
    # A token in fragments.
    async with connect(url, open_timeout=20) as ws:
        await ws.send([good[:10], "", good[10:]])
        await ws.send("ECHO known")
        assert await asyncio.wait_for(ws.recv(), 20) == "ECHO known"
    for token, text in ((bad, "Auth failed"), ("", "Auth failed"), (good.encode(), "Expected a token as text")):
        async with connect(url, open_timeout=20) as ws:
            await ws.send(token)
            try:
                await asyncio.wait_for(ws.recv(), 20)
                raise SystemExit("it was let in")
            except ConnectionClosedError as closed:
                assert (closed.rcvd.code, closed.rcvd.reason) == (1008, text), closed
    print("done")

asyncio.run(main())
