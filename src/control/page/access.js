// Who is signed in and what their role may do; and the dialog that asks before something happens.

import { $, make, setText, show } from "./dom.js";

/** What each right is for, in words. */
const RIGHTS = { send: "push", read: "look", admin: "disconnect, drain, or brake the queue" };

let session = { may: [], required: true, signed_in: false, name: null, role: null };
const disabled = [];

/** Takes what GET /v1/session said, and enables what it allows. */
export function setSession(said) {
  session = { ...said, may: Array.isArray(said.may) ? said.may : [] };
  const named = session.required && session.signed_in;
  show($("session"), named);
  setText($("session-name"), session.name ?? "");
  setText($("session-role"), session.role ? `(${session.role})` : "");
  for (const apply of disabled) apply();
}

export function may(right) {
  return session.may.includes(right);
}

/** Keeps these elements, and what is in them later, disabled where the role lacks a right; a sentence says why. */
export function guard(right, sentence, find) {
  const apply = () => {
    const allowed = may(right);
    for (const node of find()) node.disabled = !allowed;
    show(sentence, !allowed);
    const role = session.role ?? "none";
    setText(sentence, allowed ? "" : `A token of role ${role} may not ${RIGHTS[right]}: that takes role ${right === "admin" ? "admin" : `${right} or admin`}.`);
  };
  disabled.push(apply);
  return apply;
}

/**
 * Asks before something happens. `lines` say what will happen; `choice` is `{label, options: [[value, text]]}` or nothing. Gives the
 * chosen value (`true` without a choice), or null when it shall not happen. Esc leaves it.
 */
export function confirm(title, lines, yes, choice) {
  const dialog = $("confirm");
  setText($("confirm-title"), title);
  $("confirm-text").replaceChildren(make("ul", "", ...lines.map((line) => make("li", "", ...[line].flat()))));
  setText($("confirm-yes"), yes);
  show($("confirm-choice"), choice !== undefined);
  if (choice) {
    setText($("confirm-label"), choice.label);
    const options = choice.options.map(([value, text]) => Object.assign(make("option", "", text), { value }));
    $("confirm-select").replaceChildren(...options);
  }
  return new Promise((done) => {
    let answer = null;
    $("confirm-yes").onclick = () => {
      answer = choice ? $("confirm-select").value : true;
      dialog.close();
    };
    $("confirm-no").onclick = () => dialog.close();
    // The event comes some time after the closing: that of the dialog before may find this one open.
    dialog.onclose = () => dialog.open || done(answer);
    dialog.showModal();
    $("confirm-no").focus();
  });
}

/** Says how something went, politely to readers of the screen too. */
export function result(id, words, bad = false) {
  const node = $(id);
  node.dataset.tone = bad ? "bad" : "good";
  setText(node, words);
}
