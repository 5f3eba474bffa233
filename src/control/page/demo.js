// The demo: a client that behaves as docs/protocol.md advises, and says all that it does.

const ENTRIES_MAX = 200;
const at = (id) => document.getElementById(id);
const random = (ms) => Math.random() * ms;
const later = (ms) => `in ${(ms / 1000).toFixed(1)} s`;

/** What the node says of itself: where its client port is, who may do what. */
let places, session;

function say(kind, text) {
  const entry = document.createElement("li");
  const [time, word, what] = ["time", "b", "span"].map((name) => entry.appendChild(document.createElement(name)));
  entry.dataset.kind = kind;
  time.textContent = new Date().toLocaleTimeString();
  word.textContent = kind;
  what.textContent = text;
  at("log").prepend(entry);
  while (at("log").childElementCount > ENTRIES_MAX) at("log").lastElementChild.remove();
}

function notice(text) {
  at("notice").textContent = text;
}

/** One request to the internal port, which answers in JSON; a refusal is an Error that says why. */
async function ask(method, path, body, type) {
  const headers = type ? { "Content-Type": type } : {};
  const answer = await fetch(path, { method, body, headers });
  const value = await answer.json().catch(() => ({}));
  // Nobody was there to push to: that is an answer.
  if (!answer.ok && !value.outcomes) throw new Error(value.message ?? `${method} ${path}: ${answer.status}`);
  return value;
}

/** The client. It comes back after whatever end, unless the code says that it must not. */
const client = {
  socket: null,
  timer: 0,
  failures: 0,
  wanted: false,

  start() {
    this.stop();
    this.wanted = true;
    this.failures = 0;
    this.open();
  },

  stop() {
    this.wanted = false;
    clearTimeout(this.timer);
    this.socket?.close(1000);
    this.socket = null;
    this.show("off", "Not connected");
  },

  async open() {
    const { user, device } = names();
    this.show("wait", `Connecting as ${user}, ${device} …`);
    let url;
    try {
      url = await address(user, device);
    } catch (fault) {
      say("no ticket", fault.message);
      this.again(30_000);
      return;
    }
    if (!this.wanted) return;
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    let openedAt = 0, leaving = false;
    socket.onopen = () => {
      openedAt = Date.now();
      say("connected", `as ${user}, ${device}, to ${new URL(url).host}`);
      this.show("on", `Connected as ${user}, ${device}`);
    };
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") return say("push", `${data.byteLength} bytes, not text`);
      if (data !== "_CLOSE_") return say("push", data);
      leaving = true;
      const wait = random(3000);
      say("goaway", `the node asks this client to close and to connect again; it does ${later(wait)}, and takes messages until then`);
      this.show("wait", "Asked to leave");
      this.timer = setTimeout(() => socket.close(1000), wait);
    };
    socket.onclose = ({ code, reason }) => {
      if (this.socket !== socket) return say("closed", `${code}: the page closed it`);
      clearTimeout(this.timer);
      if (openedAt && Date.now() - openedAt > 10_000) this.failures = 0;
      const advice = leaving && code === 1000 ? "now" : adviceFor(code, reason, openedAt > 0);
      say("closed", `${code}${reason && ` ${reason}`}: ${meaning(code, reason, openedAt > 0, leaving)}`);
      if (advice === "never") return this.rest();
      this.again(advice === "now" ? random(1000) : random(Math.min(60_000, 1000 * 2 ** this.failures++)));
    };
  },

  again(ms) {
    this.show("wait", `Not connected; tries again ${later(ms)}`);
    this.timer = setTimeout(() => this.open(), ms);
  },

  /** Does not come back by itself. */
  rest() {
    this.wanted = false;
    this.socket = null;
    this.show("off", "Not connected, and does not come back by itself");
  },

  show(state, text) {
    at("state").dataset.state = state;
    if (at("state").textContent !== text) at("state").textContent = text;
    at("leave").disabled = !this.wanted;
  },
};

function rowFor(code, reason) {
  const rows = places.closes.filter((row) => row.code === code);
  return rows.find((row) => row.text === reason) ?? rows[0];
}

function adviceFor(code, reason) {
  return rowFor(code, reason)?.advice ?? "back_off";
}

function meaning(code, reason, opened, leaving) {
  if (leaving && code === 1000) return "this client has left, as it was asked to";
  if (code === 1006 && opened) return "the connection is lost, without a word";
  if (code === 1006) {
    return places.origin_allowed
      ? "no connection: nobody answers, or the handshake was refused (which, a page cannot see)"
      : `the node refuses pages of ${places.origin}: it is not in clients.origins`;
  }
  const what = rowFor(code, reason) ? "the node closed it" : "it was closed";
  const advice = { never: "do not come back by yourself", back_off: "come back after a while", now: "come back at once" };
  return `${what}; ${advice[adviceFor(code, reason)]}`;
}

/** Where this client connects, with what says who it is. */
async function address(user, device) {
  const socket = places.sockets[Math.floor(random(places.sockets.length))];
  if (!socket) throw new Error("this node has no client port");
  if (places.by_query) return `${socket}?${new URLSearchParams({ user, device })}`;
  const { ticket } = await ask("POST", "v1/tickets", JSON.stringify({ user, device }), "application/json");
  return `${socket}?${new URLSearchParams({ ticket })}`;
}

function names() {
  return { user: at("user").value, device: at("device").value };
}

function pathOf(user, rest) {
  return `v1/users/${encodeURIComponent(user)}${rest}`;
}

function showCommand() {
  // A quote would end the shell's own.
  const path = pathOf(names().user || "USER", "/push").replaceAll("'", "%27");
  const token = session?.required ? " -H 'Authorization: Bearer TOKEN'" : "";
  at("curl").textContent = `curl -d 'hello'${token} '${new URL(path, location.href)}'`;
}

function keepNames() {
  for (const [name, value] of Object.entries(names())) sessionStorage.setItem(name, value);
}

function recallNames() {
  const asked = new URLSearchParams(location.search);
  const drawn = `tab-${Math.random().toString(36).slice(2, 6)}`;
  at("user").value = asked.get("user") ?? sessionStorage.getItem("user") ?? "ada";
  at("device").value = asked.get("device") ?? sessionStorage.getItem("device") ?? drawn;
  keepNames();
  showCommand();
}

/** Does something that may fail, and says so where its outcome would be. */
async function attempt(work) {
  at("outcome").textContent = "…";
  try {
    at("outcome").textContent = await work();
  } catch (fault) {
    at("outcome").textContent = fault.message;
  }
}

at("client").addEventListener("submit", (event) => {
  event.preventDefault();
  keepNames();
  client.start();
});
at("client").addEventListener("input", showCommand);
at("leave").addEventListener("click", () => client.stop());
at("clear").addEventListener("click", () => at("log").replaceChildren());
at("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(at("curl").textContent);
    at("copy").textContent = "Copied";
  } catch {
    // Without leave to write there, or over plain HTTP: then it is selected.
    getSelection().selectAllChildren(at("curl"));
  }
});
at("push").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const { outcomes } = await ask("POST", pathOf(names().user, "/push"), at("message").value, "text/plain");
    if (outcomes.length === 0) return "Nobody is connected as this user.";
    return outcomes.map(({ device, outcome }) => `${device}: ${outcome}`).join("; ");
  });
});
at("ask").addEventListener("click", () => attempt(async () => {
  const { user, device } = names();
  await ask("DELETE", pathOf(user, `/devices/${encodeURIComponent(device)}`));
  return "Asked to leave: a client that behaves closes, and comes back.";
}));

async function begin() {
  recallNames();
  client.show("off", "Not connected");
  session = await ask("GET", "v1/session");
  showCommand();
  if (!session.signed_in) {
    notice("This node asks for a token: sign in on its page (“What the node sees”), then load this page again.");
    at("connect").disabled = true;
    return;
  }
  at("ask").disabled = !session.may.includes("admin");
  places = await ask("GET", "demo.json");
  at("node").textContent = places.node;
  if (!places.origin_allowed) {
    notice(`This node refuses pages of ${places.origin}. To try it, add that to clients.origins and start the node again.`);
  } else if (location.protocol === "https:") {
    notice("From a page that came by https a browser opens no ws:// connection: open this page by http, through a tunnel.");
  }
  client.start();
}

begin().catch((fault) => notice(fault.message));
