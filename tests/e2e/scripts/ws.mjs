import WebSocket from "ws";

const url = (query) => `ws://${clients}/ws?${query}`;
const closed = async (ws) => {
  const [code, reason] = await once(ws, "close");
  return `${code} ${reason}`;
};

for (const perMessageDeflate of [false, true]) {
  const ws = new WebSocket(url("user=ada"), { perMessageDeflate });
  const messages = on(ws, "message");
  const next = async () => (await messages.next()).value;
  await once(ws, "open");
  assert.equal(ws.extensions, perMessageDeflate ? "permessage-deflate" : "");
  const texts = ["", "hello", "ünï 🚀", "ünï 🚀 ".repeat(4_500)];
  for (const text of texts) {
    ws.send(text);
    const [data, isBinary] = await next();
    assert.equal(isBinary, false);
    assert.equal(data.toString(), text);
  }
  ws.send(Buffer.from("frag"), { fin: false });
  ws.send(Buffer.from("ments"));
  assert.deepEqual(await next(), [Buffer.from("fragments"), true]);
  ws.ping("are you there");
  assert.equal((await once(ws, "pong"))[0].toString(), "are you there");
  for (const body of [...texts.slice(1), "x".repeat(200_000)]) {
    await push("ada/push", body);
    assert.equal((await next())[0].toString(), body);
  }
  const bytes = Buffer.alloc(65_536, Buffer.from(Array.from({ length: 251 }, (_, at) => at)));
  await push("ada/push", bytes, "application/octet-stream");
  assert.deepEqual(await next(), [bytes, true]);
  ws.close(1000);
  assert.equal(await closed(ws), "1000 ");
}

// Pings are answered without anybody's doing: it lives on past two intervals.
const phone = new WebSocket(url("user=grace&device=phone&ping=1"));
const heard = on(phone, "message");
for (let pings = 0; pings < 3; pings++) await once(phone, "ping");
await push("grace/push", "still here");
assert.equal((await heard.next()).value[0].toString(), "still here");

// Asked to leave: one obeys and comes back, another is closed.
assert.equal((await ask("DELETE", "/v1/users/grace")).status, 202);
assert.equal((await heard.next()).value[0].toString(), "_CLOSE_");
phone.close(1000);
assert.equal(await closed(phone), "1000 ");
const back = new WebSocket(url("user=grace&device=phone"));
await once(back, "open");
assert.equal((await ask("DELETE", "/v1/users/grace")).status, 202);
assert.equal(await closed(back), "4003 closed by an operator");

const first = new WebSocket(url("user=grace&device=phone"));
await once(first, "open");
const second = new WebSocket(url("user=grace&device=phone"));
assert.equal(await closed(first), "4001 displaced");

const refusal = async (query) => (await once(new WebSocket(url(query)), "unexpected-response"))[1];
assert.equal((await refusal("")).statusCode, 401);
assert.equal((await ask("POST", "/v1/drain")).status, 202);
assert.equal(await closed(second), "1001 Server going away");
const full = await refusal("user=grace");
assert.equal(full.statusCode, 503);
assert.match(full.headers["retry-after"], /^([1-9]|10)$/);
console.log("done");
process.exit(0);
