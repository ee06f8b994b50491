/**
 * A client for Node, on its own WebSocket: sends to an echo what it is to send,
 * and closes in every way. It exits with 0 if all comes back as it was.
 */
import assert from "node:assert/strict";

const [url, ...lengths] = process.argv.slice(2);

function open(protocols) {
  const ws = new WebSocket(url, protocols);
  ws.binaryType = "arraybuffer";
  return new Promise((resolve, reject) => {
    ws.onopen = () => resolve(ws);
    ws.onerror = ({ message, error }) => reject(error ?? new Error(message));
  });
}

function next(ws) {
  return new Promise((resolve, reject) => {
    ws.onmessage = ({ data }) => resolve(data);
    ws.onclose = ({ code }) => reject(new Error(`Closed with ${code}`));
  });
}

const ws = await open(["a", "b"]);
assert.equal(ws.protocol, "b");
for (const length of lengths.map(Number)) {
  const bytes = Uint8Array.from({ length }, (_, i) => i * 31 + (i >> 8) * 7);
  let back = next(ws);
  ws.send(bytes);
  assert.ok(Buffer.from(bytes).equals(Buffer.from(await back)), `${length}`);
  const text = "é".repeat(length >> 1) + "x".repeat(length & 1);
  back = next(ws);
  ws.send(text);
  assert.ok(await back === text, `${length} as text`);
}
for (let i = 0; i < 1000; i++) ws.send(`${i}`);
for (let i = 0; i < 1000; i++) {
  // Several may arrive at once.
  if (i === 0) {
    ws.received = [];
    ws.onmessage = ({ data }) => {
      ws.received.push(data);
      ws.wake?.();
    };
  }
  while (ws.received.length <= i) {
    await new Promise((resolve) => ws.wake = resolve);
  }
  assert.equal(ws.received[i], `${i}`);
}

async function closed(ws) {
  return await new Promise((resolve) => {
    ws.onclose = ({ code, reason, wasClean }) =>
      resolve([code, reason, wasClean]);
  });
}

let end = closed(ws);
ws.close(3000, "bye é");
assert.deepEqual(await end, [3000, "", true]);

const other = await open();
end = closed(other);
other.send("close 4999 from the server");
assert.deepEqual(await end, [4999, "from the server", true]);

const last = await open();
end = closed(last);
last.close();
assert.equal((await end)[0], 1005);
