import { EventSource } from "eventsource";

const open = (query, headers = {}) =>
  new EventSource(`http://${clients}/sse?${query}`, {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }),
  });
const next = (of, type) => new Promise((resolve) => of.addEventListener(type, resolve, { once: true }));

const source = open("device=tab", { "X-CUSTOMER_ID": "ada" });
await next(source, "open");
for (const body of ["hello\nworld", "ünï 🚀 ".repeat(4_500), "x".repeat(200_000), " space, then an end\n"]) {
  const event = next(source, "push");
  await push("ada/push?id=m-" + body.length, body);
  assert.deepEqual([(await event).data, (await event).lastEventId], [body, "m-" + body.length]);
}
const bytes = Buffer.from(Array.from({ length: 65_536 }, (_, at) => at % 251));
const binary = next(source, "push.base64");
await push("ada/push", bytes, "application/octet-stream");
assert.deepEqual(Buffer.from((await binary).data, "base64"), bytes);

// Does not obey the goaway, is closed, and comes back by itself within the delay that it was told.
const goaway = next(source, "goaway");
const close = next(source, "close");
assert.equal((await ask("DELETE", "/v1/users/ada")).status, 202);
assert.equal((await goaway).data, "_CLOSE_");
assert.equal((await close).data, "4003 closed by an operator");
const ended = Date.now();
await next(source, "open");
assert.ok(Date.now() - ended < 6_000, `back after ${Date.now() - ended} ms`);
const again = next(source, "push");
await push("ada/push", "again");
assert.equal((await again).data, "again");
source.close();

// Past three takeovers within a minute the newcomer is turned away, and does not come back.
let holder = open("user=grace&device=tab");
await next(holder, "open");
for (let takeovers = 0; takeovers < 3; takeovers++) {
  const [displaced, told] = [holder, next(holder, "close")];
  holder = open("user=grace&device=tab");
  await next(holder, "open");
  assert.equal((await told).data, "4001 displaced");
  displaced.close();
}
for (const [query, code] of [["user=grace&device=tab", 204], ["", 401]]) {
  const refused = open(query);
  assert.equal((await next(refused, "error")).code, code);
  assert.equal(refused.readyState, EventSource.CLOSED);
}
// Turned away for a while only, it goes on trying.
assert.equal((await ask("POST", "/v1/drain")).status, 202);
assert.equal((await next(holder, "close")).data, "1001 Server going away");
await next(holder, "error");
const later = open("user=grace&device=other");
await next(later, "error");
assert.equal(later.readyState, EventSource.CONNECTING);
console.log("done");
process.exit(0);
