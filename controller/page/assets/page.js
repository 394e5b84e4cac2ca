// Which view is open, what it asks for, and when it asks again.

import { make, setNow, show } from "/draw.js";
import { views, panels } from "/views.js";

const main = document.getElementById("main");
const panel = document.getElementById("panel");
const live = document.getElementById("live");
const trouble = document.getElementById("trouble");

/** Asks the server. An answer that is no data becomes an error in its words. */
export async function ask(path, query) {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) if (value !== undefined && value !== "") parameters.set(key, value);
  const response = await fetch(`/page/${path}?${parameters}`, { cache: "no-store" });
  if (!response.ok) throw new Error((await response.text()).trim().slice(0, 500) || `the server answers ${response.status}`);
  return response.json();
}

let open = null;
let side = null;
let back = "#/federation";
let opener = null;

/** `#/explain?to=x` is the view `explain` with its parameters; `#/peer?name=x` is a panel. */
function route() {
  const [name, query] = (location.hash.slice(2) || "federation").split("?");
  return [name, Object.fromEntries(new URLSearchParams(query ?? ""))];
}

function navigate() {
  const [name, query] = route();
  if (panels[name]) {
    if (!open) start("federation", {});
    if (panel.hidden) opener = document.activeElement;
    side = { name, query, view: panels[name](query) };
    panel.hidden = false;
    show(panel, make(".top", {}, make("h1", {}, make("bdi", { title: query.name }, query.name ?? "")), make("button.push", { type: "button", onclick: close, "aria-label": "Close" }, "Close")), make("div", { id: "details" }, make("p.quiet", {}, "Loading")));
    panel.tabIndex = -1;
    panel.scrollTop = 0;
    panel.focus();
    refreshPanel();
    return;
  }
  const had = !panel.hidden;
  panel.hidden = true;
  side = null;
  back = location.hash || "#/federation";
  if (open?.hash !== back) start(views[name] ? name : "federation", query);
  else if (had) document.querySelector(`a[href="${CSS.escape(opener?.getAttribute?.("href") ?? "")}"]`)?.focus() ?? opener?.focus?.();
}

function close() {
  location.hash = back;
}

function start(name, query) {
  open = { name, hash: panels[route()[0]] ? back : location.hash || "#/federation", view: views[name](query, main) };
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} · fedgate`;
  main.replaceChildren(make("p.quiet", {}, "Loading"));
  refreshMain();
}

function failed(error) {
  trouble.hidden = false;
  trouble.textContent = error instanceof TypeError ? "The server does not answer. Does it still run?" : error.message;
}

async function refreshMain() {
  const mine = open;
  try {
    const drawn = await mine.view.refresh();
    if (mine !== open) return;
    if (drawn) show(main, drawn);
    mine.view.drawn?.();
    trouble.hidden = true;
  } catch (error) {
    failed(error);
  }
}

async function refreshPanel() {
  const mine = side;
  try {
    const drawn = await mine.view();
    if (mine === side) show(document.getElementById("details"), drawn);
  } catch (error) {
    if (mine === side) show(document.getElementById("details"), make("p.note", {}, error.message));
  }
}

/** One refresh at a time; changes meanwhile lead to one more. */
let busy = false;
let again = false;
async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  do {
    again = false;
    await Promise.all([header(), open ? refreshMain() : null, side ? refreshPanel() : null]);
  } while (again);
  busy = false;
}

async function header() {
  try {
    const overview = await ask("overview");
    setNow(overview.now);
    document.getElementById("cluster").textContent = overview.cluster.trustDomain;
    if (overview.trouble) failed(new Error(overview.trouble));
  } catch (error) {
    failed(error);
  }
}

let tries = 0;
function listen() {
  const events = new EventSource("/page/events");
  events.addEventListener("changed", () => {
    tries = 0;
    live.className = "on";
    live.textContent = "live";
    refresh();
  });
  events.onerror = () => {
    live.className = "off";
    live.textContent = "reconnecting";
    // A refusal ends an event source for good; a lost connection does not.
    if (events.readyState !== EventSource.CLOSED) return;
    events.close();
    tries = Math.min(tries + 1, 5);
    setTimeout(listen, tries * 2000);
  };
}

const theme = document.getElementById("theme");
const themes = ["auto", "light", "dark"];
function paint(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  theme.textContent = name[0].toUpperCase() + name.slice(1);
  theme.dataset.name = name;
}
let saved = "auto";
try { saved = localStorage.getItem("theme") ?? "auto"; } catch { /* Not allowed here. */ }
paint(themes.includes(saved) ? saved : "auto");
theme.onclick = () => {
  const next = themes[(themes.indexOf(theme.dataset.name) + 1) % themes.length];
  paint(next);
  try { localStorage.setItem("theme", next); } catch { /* Not allowed here. */ }
};

addEventListener("hashchange", navigate);
addEventListener("resize", () => open?.view.drawn?.());
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !panel.hidden) close();
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
  if (event.key === "/" && !typing) {
    const search = main.querySelector("input[type=search]");
    if (search) { event.preventDefault(); search.focus(); }
  }
});
navigate();
listen();
