import assert from "node:assert/strict";
import { on, once } from "node:events";
setTimeout(() => { console.error("the script is not done after 30 s"); process.exit(1); }, 30_000).unref();
const [clients, internal] = process.argv.slice(1);
const ask = (method, path, body, type = "text/plain") =>
  fetch(`http://${internal}${path}`, { method, body, headers: body === undefined ? {} : { "content-type": type } });
async function push(target, body, type) {
  const answer = await ask("POST", `/v1/users/${target}`, body, type);
  assert.equal(answer.status, 200);
  assert.deepEqual((await answer.json()).outcomes.map(({ outcome }) => outcome), ["written"]);
}
