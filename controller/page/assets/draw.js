// Draws values. Text becomes text, never markup: elements are made one by one, and the page's policy
// makes the browser refuse anything else.

const SVG = "http://www.w3.org/2000/svg";

/** Text without characters that cannot be seen, or that make it look like other text. The commands show the same. */
const visible = (text) => String(text).replace(/[\p{Cc}\p{Cs}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu, (letter) => (letter === "\t" || letter === "\n" ? " " : `\\u{${letter.codePointAt(0).toString(16)}}`));

/** An element. Children are elements, text, or nothing. */
export function make(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const is = name === "svg" || name === "path";
  const element = is ? document.createElementNS(SVG, name) : document.createElement(name || "div");
  if (classes.length > 0) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element[key] = value;
    else element.setAttribute(key, value === true ? "" : key === "title" || key === "aria-label" ? visible(value) : String(value));
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false).map((child) => (child instanceof Node ? standIn(child) : visible(child))));
  return element;
}

/** Stands for an element that stays in the page: to take it out, even for a moment, loses focus and scrolling. */
function standIn(child) {
  if (!child.keep || !child.isConnected) return child;
  const place = document.createElement(child.nodeName);
  place.standsFor = child;
  return place;
}

/** An element for the page, with all that its stand-ins stand for. */
function whole(fresh) {
  if (fresh.standsFor) return fresh.standsFor;
  for (const inner of fresh.querySelectorAll?.("*") ?? []) if (inner.standsFor) inner.replaceWith(inner.standsFor);
  return fresh;
}

const icons = {
  check: "M3 8.5 6.5 12 13 4.5", cross: "M4 4l8 8M12 4l-8 8", wait: "M8 4v4.5l3 2M8 1.5a6.5 6.5 0 1 0 .01 0", bang: "M8 3v6M8 12.4v.2",
  to: "M2 8h11M9 4l4 4-4 4", from: "M14 8H3M7 4 3 8l4 4", full: "M8 8h.01", half: "M8 3a5 5 0 1 0 .01 0v10M10 4v8M12 6v4", ring: "M8 3a5 5 0 1 0 .01 0", dash: "M4.5 8h7", left: "M10 3 5 8l5 5", right: "M6 3l5 5-5 5",
};
/** A small picture that says what its colour says. */
export const icon = (name) => make("svg.icon", { viewBox: "0 0 16 16", "aria-hidden": "true" }, make("path", { d: icons[name] }));

/** Somebody else's text: isolated, so that its direction changes nothing around it. */
export const foreign = (text) => make("bdi", { title: text }, text ?? "");

/** Makes `old` like `fresh` and keeps what is the same, so that focus and scrolling stay. */
function morph(old, fresh) {
  if (old === fresh.standsFor) return;
  if (fresh.standsFor || old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.dataset?.key !== fresh.dataset?.key) {
    old.replaceWith(whole(fresh));
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.keep) return;
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "style") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const key of ["onclick", "oninput", "onsubmit", "onchange", "onkeydown"]) old[key] = fresh[key];
  align(old, [...fresh.childNodes]);
}

/** Makes the children of `old` like `after`. One with a key stays with it: rows that come before push it down. */
function align(old, after) {
  const keys = new Set(after.map((child) => child.dataset?.key).filter(Boolean));
  for (const child of [...old.childNodes]) if (child.dataset?.key && !keys.has(child.dataset.key)) child.remove();
  let at = old.firstChild;
  for (const child of after) {
    const key = child.dataset?.key;
    if (at && (!key || key === at.dataset?.key) && !(at.dataset?.key && !key)) {
      const next = at.nextSibling;
      morph(at, child);
      at = next;
    } else old.insertBefore(whole(child), at);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

/** Replaces the content of an element. */
export function show(element, ...children) {
  const fresh = element.cloneNode(false);
  fresh.append(...children.flat(9).filter(Boolean).map(standIn));
  morph(element, fresh);
}

let skew = 0;
/** Takes the server's clock. */
export const setNow = (text) => { skew = Date.parse(text) - Date.now(); };
const seconds = (text) => (Date.parse(text) - Date.now() - skew) / 1000;

function span(count) {
  const n = Math.abs(count);
  if (n < 120) return `${Math.round(n)} s`;
  if (n < 7200) return `${Math.round(n / 60)} min`;
  if (n < 172800) return `${Math.round(n / 3600)} h`;
  return `${Math.floor(n / 86400)} days`;
}
/** How long ago, or until when. */
export function when(text) {
  if (!text) return make("span.quiet", {}, "never");
  const left = seconds(text);
  return make("time", { datetime: text, title: text }, left > 1 ? `in ${span(left)}` : `${span(left)} ago`);
}
/** The time that is left, with a warning when it is short. */
export function left(text) {
  if (!text) return make("span.quiet", {}, "unknown");
  const days = seconds(text) / 86400;
  const kind = days < 7 ? "bad" : days < 30 ? "warn" : "plain";
  return make(`time.${kind}`, { datetime: text, title: `ends at ${text}` }, days < 0 ? "has ended" : `${span(days * 86400)} left`);
}

export const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : (many ?? one + "s")}`;
export const badge = (kind, ...children) => make(`span.badge.${kind}`, {}, children);

/** A table with headings; on a phone each row becomes a block. A row with a key keeps its place under the focus. */
export function table(heads, rows) {
  const cell = (value, at) => make(typeof value === "number" ? "td.number" : "td", { "data-head": heads[at] || null }, typeof value === "number" ? value.toLocaleString("en") : value);
  const head = heads.map((text, at) => make(typeof rows[0]?.[at] === "number" ? "th.number" : "th", { scope: "col" }, text));
  return make(".scroll", {}, make("table.stack", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows.map((row) => make("tr", { "data-key": row.key }, row.map(cell))))));
}

const ROW = 44;
const CHUNK = 60;
/** More rows than that have no place in a browser's scroll area. */
const MOST = 350000;

/**
 * A list of any length: only the rows that can be seen are asked for and drawn. `ask(offset, limit)`
 * answers with rows, `draw(row)` makes the element of one.
 */
export function list(label, ask, draw) {
  const inner = make("div");
  const outer = make(".list", { tabindex: "0", role: "group", "aria-label": label }, inner);
  outer.keep = true;
  let chunks = new Map();
  let found = 0;
  let age = 0;
  let active = 0;
  let shown = () => {};

  async function chunk(at, mine) {
    if (chunks.has(at)) return;
    chunks.set(at, null);
    const answer = await ask(at * CHUNK, CHUNK).catch(() => null);
    if (mine !== age) return;
    if (!answer) { chunks.delete(at); return; }
    chunks.set(at, answer.rows);
    found = Math.min(answer.found, MOST);
    shown(answer);
    paint();
  }
  function visible() {
    const first = Math.max(0, Math.floor(outer.scrollTop / ROW) - 4);
    return [first, Math.min(found, first + Math.ceil((outer.clientHeight || 600) / ROW) + 8)];
  }
  function paint() {
    inner.style.height = `${Math.max(found, 1) * ROW}px`;
    outer.style.height = found < 14 ? `${Math.max(found, 1) * ROW + 2}px` : "";
    const [first, last] = visible();
    const focused = inner.contains(document.activeElement);
    const rows = [];
    for (let at = first; at < last; at += 1) {
      const value = chunks.get(Math.floor(at / CHUNK))?.[at % CHUNK];
      const row = value ? draw(value) : make(".row.quiet", {}, "…");
      row.dataset.at = at;
      row.tabIndex = at === active ? 0 : -1;
      rows.push(row);
    }
    if (found === 0) rows.push(make(".row.quiet", {}, age > 0 && chunks.get(0) ? "Nothing is found." : "…"));
    show(inner, rows);
    [...inner.children].forEach((row, at) => { row.style.top = `${(first + at) * ROW}px`; });
    if (focused) inner.querySelector(`[data-at="${active}"]`)?.focus({ preventScroll: true });
  }
  function look() {
    const [first, last] = visible();
    for (let at = Math.floor(first / CHUNK); at <= Math.floor(Math.max(last - 1, 0) / CHUNK); at += 1) chunk(at, age);
    paint();
  }
  function go(at) {
    active = Math.max(0, Math.min(found - 1, at));
    const top = active * ROW;
    if (top < outer.scrollTop) outer.scrollTop = top;
    if (top + ROW > outer.scrollTop + outer.clientHeight) outer.scrollTop = top + ROW - outer.clientHeight;
    look();
    inner.querySelector(`[data-at="${active}"]`)?.focus({ preventScroll: true });
  }
  let waiting = false;
  outer.onscroll = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; look(); });
  };
  outer.onkeydown = (event) => {
    const page = Math.max(1, Math.floor(outer.clientHeight / ROW) - 1);
    const inside = inner.contains(document.activeElement);
    const to = { ArrowDown: inside ? active + 1 : active, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: found - 1 }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    go(to);
  };
  inner.onfocusin = null;
  inner.addEventListener("focusin", (event) => {
    const at = event.target.closest("[data-at]")?.dataset.at;
    if (at !== undefined) active = Number(at);
  });
  /** Asks again: for the same rows after a change, or from the top after a new search. */
  async function refresh(top) {
    age += 1;
    const mine = age;
    if (top) { outer.scrollTop = 0; active = 0; }
    const [first] = visible();
    const at = top ? 0 : Math.floor(first / CHUNK);
    const answer = await ask(at * CHUNK, CHUNK).catch(() => null);
    if (mine !== age || !answer) return;
    chunks = new Map([[at, answer.rows]]);
    found = Math.min(answer.found, MOST);
    shown(answer);
    look();
  }
  return { element: outer, refresh, onanswer: (then) => { shown = then; } };
}
