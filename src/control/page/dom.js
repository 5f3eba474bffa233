// Small hands for the document.
//
// Text is only ever set as text: a name with markup in it stays a name. Nodes are kept and reused, and nothing is written that
// is there already, so that an update a second costs no layout beyond what changed.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function setText(node, text) {
  const value = String(text);
  if (node.textContent !== value) node.textContent = value;
}

export function setAttribute(node, name, value) {
  const text = String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

/** An element with a class and children; strings become text. */
export function make(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/** A name that came from outside: set apart, so that its writing direction and its length do no harm. */
export function name(text) {
  return make("bdi", "name", String(text));
}

export function shape(tag, attributes = {}) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/**
 * Makes the children of `parent` those of `items`, in their order. `keyOf(item)` tells which child is whose, `create(item)` makes
 * a missing one, `update(child, item)` writes into each.
 */
export function keyed(parent, items, keyOf, create, update) {
  const known = (parent.known ??= new Map());
  const wanted = new Set();
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    wanted.add(key);
    let child = known.get(key);
    if (!child) known.set(key, (child = create(item)));
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const [key, child] of known) {
    if (wanted.has(key)) continue;
    known.delete(key);
    child.remove();
  }
}

/** A table's row: its first cell is its head, the classes say which cells hold numbers. */
export function row(classes) {
  const line = make("tr");
  classes.forEach((className, at) => {
    const cell = make(at === 0 ? "th" : "td", className);
    if (at === 0) cell.scope = "row";
    line.append(cell);
  });
  return line;
}

/** Makes the rows of a table's body those of `items`; `cells(item)` gives the texts. */
export function rows(body, items, keyOf, classes, cells) {
  keyed(body, items, keyOf, () => row(classes), (line, item) => {
    cells(item).forEach((text, at) => setText(line.children[at], text));
  });
}

/** Makes children so many, each made by `create`. */
export function shapes(parent, many, create) {
  while (parent.childElementCount > many) parent.lastElementChild.remove();
  while (parent.childElementCount < many) parent.append(create());
  return parent.children;
}
