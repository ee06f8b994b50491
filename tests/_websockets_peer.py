"""Python's websockets at either end of a connection.

client URL LENGTH...   sends to an echo, and checks what comes back
server                 is an echo; prints its port, ends with its stdin
"""

import asyncio
import sys

import websockets


def bytes_of(length):
    return bytes((i * 31 + (i >> 8) * 7) & 255 for i in range(length))


def text_of(length):
    return "é" * (length >> 1) + "x" * (length & 1)


async def client(url, lengths):
    options = {"max_size": None, "compression": "deflate"}
    async with websockets.connect(url, subprotocols=["a", "b"], **options) as ws:
        assert ws.subprotocol == "b", ws.subprotocol
        for length in lengths:
            for data in (bytes_of(length), text_of(length)):
                await ws.send(data)
                assert await ws.recv() == data, length
        await ws.send(text_of(9)[i : i + 2] for i in range(0, 9, 2))
        assert await ws.recv() == text_of(9)
        await (await ws.ping(b"are you there?"))
        await ws.close(3000, "bye é")
        assert ws.close_code == 3000, ws.close_code
    async with websockets.connect(url, **options) as ws:
        await ws.send("close 4999 from the server")
        await ws.wait_closed()
        assert (ws.close_code, ws.close_reason) == (4999, "from the server")


async def echo(ws, *_):
    async for message in ws:
        if isinstance(message, str) and message.startswith("close "):
            _, code, reason = message.split(" ", 2)
            await ws.close(int(code), reason)
        elif message == "ping":
            await (await ws.ping(b"are you there?"))
            await ws.send(part for part in ("po", "", "ng"))
        else:
            await ws.send(message)


async def server():
    async with websockets.serve(
        echo, "127.0.0.1", 0, subprotocols=["b"], max_size=None
    ) as listening:
        print(listening.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if sys.argv[1] == "client":
    asyncio.run(client(sys.argv[2], [int(length) for length in sys.argv[3:]]))
else:
    asyncio.run(server())
