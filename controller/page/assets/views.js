// The views. Each has `refresh`, which asks and returns what to draw, and panels are such functions.

import { badge, count, foreign, icon, left, list, make, show, table, when } from "/draw.js";
import { ask } from "/page.js";

const link = (view, query, ...children) => make("a", { href: `#/${view}?${new URLSearchParams(query)}` }, children);
const turns = { ours: ["bad", "our turn"], theirs: ["warn", "their turn"], either: ["warn", "either's turn"] };

const kind = (peer) => (peer.ready && !peer.held ? "good" : peer.turn === "ours" || peer.held ? "bad" : "warn");
function state(peer) {
  if (peer.held) return badge("bad", icon("bang"), "approval needed");
  if (peer.ready) return badge("good", icon("check"), "ready");
  const [word, text] = turns[peer.turn] ?? ["warn", "not known yet"];
  return badge(word, icon(peer.turn ? "cross" : "wait"), text);
}
/** Whether the state in words says more than "ready". */
const trouble = (peer) => peer.state !== "ready";
/** What is wrong, without the words for it: a badge and the panel have them. */
const why = (peer) => make("bdi", { title: peer.state }, peer.state.replace(/^NOT READY: ([A-Z]\w+ [A-Z]\w+: )?/, ""));
const size = (bytes) => {
  const unit = bytes < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(bytes) / 10));
  return `${unit ? (bytes / 1024 ** unit).toFixed(1) : bytes} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
};
const calls = (made) => made && make("span", { title: "connections from here, and bytes to and from it" }, `${count(made.connections, "call")} to it`, made.failures > 0 ? make("span.bad", {}, `, ${made.failures.toLocaleString("en")} failed`) : null, `, ${size(made.toService)} sent, ${size(made.fromService)} received`);
const traffic = (counts) => counts && make("span", { title: "connections from it: granted, refused" }, `${counts.allowed.toLocaleString("en")} granted, `, make(counts.refused > 0 ? "span.bad" : "span", {}, `${counts.refused.toLocaleString("en")} refused`));

function node(peer) {
  return make(`a.peer.${kind(peer)}`, { href: `#/peer?${new URLSearchParams({ name: peer.name })}`, "data-key": peer.name },
    make("div", {}, make("b", {}, foreign(peer.name)), make("span.push", {}), peer.mode === "audit" || peer.mode === "Audit" ? badge("warn", "audit") : null, state(peer)),
    make("div.facts", {},
      make("span", { title: "exports that it may call" }, icon("to"), `${count(peer.grantedExports, "export")} to it`),
      make("span", { title: "its services that can be called from here" }, icon("from"), count(peer.imports, "import")),
      peer.rootsEnd ? make("span", {}, "roots ", left(peer.rootsEnd)) : make("span.bad", {}, "no root"),
      traffic(peer.traffic),
      calls(peer.calls)),
    peer.ready ? null : make("div.why", {}, why(peer)));
}

function picture(overview) {
  const half = Math.ceil(overview.picture.length / 2);
  const [ready, not] = overview.more;
  const rest = ready + not > 0 ? make("a.peer", { href: "#/federation", "data-key": "", onclick: (event) => { event.preventDefault(); document.querySelector("#peers input")?.focus(); } }, make("div", {}, make("b", {}, `${count(ready + not, "more peer")}`)), make("div.facts", {}, `${ready.toLocaleString("en")} ready, ${not.toLocaleString("en")} not ready; all are in the list below`)) : null;
  const { cluster, counts, certificates } = overview;
  const first = certificates.find((one) => one.role === "root") ?? certificates[0];
  const hub = make(".hub", {}, make("b", {}, foreign(cluster.trustDomain)), make("p.quiet", {}, "this cluster"),
    make("p", {}, cluster.gateways.length ? foreign(cluster.gateways.join(", ")) : "no gateway address"),
    first ? make("p.quiet", {}, `${first.role === "root" ? "own root" : first.role}: `, left(first.notAfter)) : null);
  if (counts.peers === 0) return make(".card", {}, hub, make("p.quiet", {}, "There are no peers. Create an IstioFederation for another cluster, and it appears here."));
  const drawn = make(".picture", {}, make("svg", { "aria-hidden": "true" }), make(".side", {}, overview.picture.slice(0, half).map(node)), hub, make(".side", {}, overview.picture.slice(half).map(node), rest));
  return make("section.card", { "aria-label": "This cluster and its peers" }, drawn);
}

/** Draws the lines between this cluster and the peers, where there is room for them. */
function lines() {
  const drawn = document.querySelector(".picture");
  const svg = drawn?.querySelector(":scope > svg");
  if (!svg || getComputedStyle(svg).display === "none") return;
  const box = drawn.getBoundingClientRect();
  const hub = drawn.querySelector(".hub").getBoundingClientRect();
  const middle = hub.top + hub.height / 2 - box.top;
  const paths = [...drawn.querySelectorAll(".peer")].map((peer) => {
    const at = peer.getBoundingClientRect();
    const isLeft = at.left < hub.left;
    const from = (isLeft ? hub.left : hub.right) - box.left;
    const to = (isLeft ? at.right : at.left) - box.left;
    const y = at.top + at.height / 2 - box.top;
    const half = (from + to) / 2;
    const word = ["good", "warn", "bad"].find((word) => peer.classList.contains(word)) ?? "plain";
    return make(`path.${word}`, { d: `M${from} ${middle}C${half} ${middle} ${half} ${y} ${to} ${y}` });
  });
  svg.replaceChildren(...paths);
}

function tiles({ counts, table: gateway, traffic: known, lastRefusal, calls: { is: made } }) {
  const tile = (name, value, note, href, word) => make(href ? "a.tile" : ".tile", href ? { href } : {}, make("span.name", {}, name), make(`b.${word ?? "plain"}`, {}, value), make("span", {}, note));
  const loaded = gateway.loaded;
  const table = gateway.outdated ? ["bad", "outdated", "the last table could not be built or written"]
    : loaded?.status === "False" ? ["bad", "not in force", loaded.message]
    : loaded?.status === "Unknown" ? ["warn", "written", `in force as far as known; ${loaded.message}`]
    : ["plain", loaded ? "in force" : "written", `${loaded ? "in every gateway; " : ""}generation ${gateway.generation}`];
  const sum = known.is;
  return make(".tiles", {},
    tile("Peers ready", `${counts.ready} / ${counts.peers}`, counts.held ? `${count(counts.held, "change")} held: approve or refuse` : counts.audited ? `${counts.audited} in audit` : "all enforced", null, counts.ready === counts.peers && !counts.held ? "good" : "warn"),
    tile("Exports", counts.exports.toLocaleString("en"), "who may call what", "#/exports"),
    tile("Imports", counts.imports.toLocaleString("en"), "what peers offer", "#/imports"),
    tile("Table", table[1], table[2], null, table[0]),
    tile("Refused", sum ? sum.refused.toLocaleString("en") : "–", sum ? [`${sum.allowed.toLocaleString("en")} granted, ${sum.audited.toLocaleString("en")} audited`, lastRefusal ? make("span", {}, "the last one ", when(lastRefusal)) : null] : "not known here", "#/refusals", sum && sum.refused > 0 ? "warn" : "plain"),
    tile("Calls", made ? made.connections.toLocaleString("en") : "–", made ? `to peers; ${made.failures.toLocaleString("en")} failed, ${size(made.toService)} sent, ${size(made.fromService)} received` : "not known here", "#/imports", made && made.failures > 0 ? "warn" : "plain"),
    tile("Findings", counts.findings.toLocaleString("en"), `${count(counts.errors, "error")}, ${count(counts.warnings, "warning")}`, "#/federation", counts.errors ? "bad" : counts.warnings ? "warn" : "good"));
}

const severities = { error: "bad", warning: "warn", info: "plain" };
function findings(rows, all) {
  if (rows.length === 0) return null;
  return make("section.card", { id: "findings" }, make("h2", {}, `Findings (${all ?? rows.length})`), make("ul.plain", {}, rows.map((row) => {
    const word = String(row.severity).toLowerCase();
    return make("li", {}, badge(severities[word] ?? "plain", word), " ", make("bdi", {}, row.text));
  })), all > rows.length ? make("p.quiet", {}, `The first ${rows.length} of ${all}; fedgate status shows all.`) : null);
}

/** A search field, chips for states, and a list below. */
function searchable(label, path, chips, heads, draw, fixed) {
  const query = { search: "", state: "", ...fixed };
  const rows = list(label, (offset, limit) => ask(path, { ...query, offset, limit }), draw);
  const number = make("span.quiet", { role: "status" });
  const note = make("p.note", { hidden: true });
  rows.onanswer(({ found, all, trouble }) => { note.hidden = !trouble; note.textContent = trouble ?? ""; number.textContent = found === all ? `${all.toLocaleString("en")}` : `${found.toLocaleString("en")} of ${all.toLocaleString("en")}`; });
  const input = make("input", { type: "search", placeholder: "Search", "aria-label": `Search: ${label}`, maxlength: 300, value: query.search, oninput: () => { query.search = input.value; rows.refresh(true); } });
  const buttons = chips.map(([state, text]) => {
    const button = make("button.chip", { type: "button", "aria-pressed": String(state === query.state) }, text);
    button.onclick = () => {
      query.state = state;
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      rows.refresh(true);
    };
    return button;
  });
  const head = heads && make(".head", { "aria-hidden": "true" }, heads.map(([size, text]) => make(`span.${size}`, {}, text)));
  const element = make("div", {}, make(".tools", {}, input, buttons, number), note, head, rows.element);
  element.keep = true;
  return { element, query, refresh: rows.refresh };
}

function peerRow(peer) {
  return make("a.row", { href: `#/peer?${new URLSearchParams({ name: peer.name })}` }, foreign(peer.name), make("span.wide", {}, foreign(peer.trustDomain)), make("span.short", {}, `${peer.grantedExports} / ${peer.imports}`), make("span.two.wide", {}, trouble(peer) ? why(peer) : null), make("span.short.wide", {}, left(peer.rootsEnd)), make("span.state", {}, state(peer)));
}

function federation() {
  const peers = searchable("Peers", "peers", [["", "All"], ["not_ready", "Not ready"], ["ready", "Ready"], ["held", "Held"], ["audit", "Audit"]], [["one", "peer"], ["wide", "trust domain"], ["short", "to it / from it"], ["two.wide", "state"], ["short.wide", "roots"], ["state", ""]], peerRow);
  let first = true;
  return {
    async refresh() {
      const overview = await ask("overview");
      if (overview.counts.peers > 0) { peers.refresh(first); first = false; }
      return [tiles(overview), picture(overview), overview.counts.peers > 0 ? make("section.card", { id: "peers" }, make("h2", {}, "Peers"), peers.element) : null, findings(overview.findings, overview.counts.findings)];
    },
    drawn: lines,
  };
}

function simple(title, text, made, extra) {
  let first = true;
  return {
    async refresh() {
      made.refresh(first);
      const is = first;
      first = false;
      return is ? [make("section.card", {}, make("h2", {}, title), make("p.quiet", {}, text), extra ?? null, made.element)] : null;
    },
  };
}

const exportsView = (query) => simple("Exports", "What peers may call here, to how many of them it is granted, and by which policy. Without a policy that selects a peer, a labelled Service is granted to it.",
  searchable("Exports", "exports", [["", "All"], ["granted", "Granted"], ["nobody", "Granted to nobody"], ["audited", "Only by Audit"], ["passthrough", "Passthrough"]], [["three", "service"], ["short", "peers"], ["two.wide", "policies"], ["state.maybe", ""]], (row) =>
    make("a.row", { href: `#/export?${new URLSearchParams({ name: row.service })}` }, make("span.three", {}, foreign(row.service)), make("span.short", {}, `${row.granted} of ${row.peers}`), make("span.two.wide", {}, foreign(row.policies.join(", ") || "–")), make("span.state.maybe", {}, row.audited ? badge("warn", `${row.audited} audited`) : row.granted === 0 ? badge("warn", "nobody") : row.passthrough ? badge("plain", "passthrough") : "")), query));

const member = (one) => make("span", { title: one.message || one.state }, badge(one.taken ? "good" : one.used ? "plain" : "bad", icon(one.taken ? "check" : one.used ? "wait" : "cross"), foreign(one.place)), one.used ? null : make("span.quiet", {}, ` ${one.state} `));
const names = (query) => searchable("Federated services", "federated", [["", "All"], ["failing", "Failing"]], [["three", "name"], ["short.wide", "protocol"], ["two.wide", "where"], ["three", "members, in order"]], (row) =>
  make("a.row", { href: `#/explain?${new URLSearchParams({ to: row.service })}` }, make("span.three", {}, foreign(row.service)), make("span.short.wide", {}, row.protocol), make(`span.two.wide.${row.ready ? "plain" : "bad"}`, {}, row.location), make("span.three", {}, row.members.length ? row.members.map(member) : make("span.bad", {}, foreign(row.taken)))), query);

function importsView(query) {
  const [federated, imports] = [names(query), importRows(query)];
  const card = (title, text, made) => make("section.card", {}, make("h2", {}, title), make("p.quiet", {}, text), made.element);
  let first = true;
  return {
    async refresh() {
      const [{ all }, overview] = await Promise.all([ask("federated", { limit: 1 }), ask("overview")]);
      const is = first;
      first = false;
      if (all > 0) federated.refresh(is);
      imports.refresh(is);
      return [all > 0 ? card("Federated services", "Names that several clusters serve. Calls go to the first member that works.", federated) : null, card("Imports", "What can be called at the peers.", imports), overview.calls.why ? make("p.note", {}, `Calls are not counted here: ${overview.calls.why}`) : null];
    },
  };
}

const importRows = (query) => searchable("Imports", "imports", [["", "All"], ["unreachable", "Without a port"]], [["three", "service"], ["one", "peer"], ["short.wide", "protocol"], ["two.wide", "where"], ["one.wide", "calls"], ["short.wide", "confirmed"]], (row) =>
    make("a.row", { href: `#/explain?${new URLSearchParams({ to: row.service })}` }, make("span.three", {}, foreign(row.service)), foreign(row.peer), make("span.short.wide", {}, row.protocol), make(`span.two.wide.${row.reachable ? "plain" : "bad"}`, {}, row.location), make("span.one.wide", { title: row.calls ? `${row.calls.open} open, ${size(row.calls.toService)} sent, ${size(row.calls.fromService)} received` : null }, row.calls ? `${count(row.calls.connections, "call")}, ${size(row.calls.toService + row.calls.fromService)}` : "–"), make("span.short.wide", {}, when(row.confirmed))), query);

const changesView = (query) => simple("Changes", "What happened when, the newest first. The controller keeps it over a restart.",
  searchable("Changes", "changes", [["", "All"], ["peer", "Peers"], ["roots", "Roots"], ["key", "Keys"], ["export", "Exports"], ["grant", "Grants"], ["import", "Imports"], ["condition", "Conditions"], ["leader", "Controller"]], null, (row) =>
    make(".row", {}, make("span.short", {}, when(row.at)), make("span.short.wide", {}, badge("plain", row.kind === "leader" ? "controller" : row.kind)), make("span.one", {}, foreign(row.about)), make("span.three", {}, foreign(row.text))), query));

const marks = { granted: ["full", "granted"], some: ["half", "some callers"], audited: ["ring", "only audited: would be refused"], refused: ["dash", "refused"] };

function matrixView() {
  const query = { search: "", peers: "", column: 0 };
  const width = () => Math.max(4, Math.min(40, Math.floor((Math.min(innerWidth, 1360) * 0.5) / 38)));
  const heads = make(".grid.head");
  const number = make("span.quiet", { role: "status" });
  let names = [];
  let last = null;
  const rows = list("Services by peers", async (offset, limit) => {
    const part = await ask("matrix", { ...query, offset, limit, columns: width() });
    [names, last] = [part.columns, part];
    heads.replaceChildren(make("span.service", {}, ""), ...names.map((name) => make("span.column", {}, foreign(name))));
    const end = part.column + part.columns.length;
    number.textContent = part.peers ? `${count(part.services, "service")}, peers ${part.column + 1} to ${end} of ${part.peers.toLocaleString("en")}` : "no such peer";
    [previous.disabled, next.disabled] = [part.column === 0, end >= part.peers];
    return { rows: part.rows, found: part.services, all: part.services };
  }, (row) => make(".row.grid", {}, make("span.service", {}, link("export", { name: row.service }, foreign(row.service))), row.cells.map((cell, at) => {
    const [mark, word] = marks[cell.verdict] ?? ["dash", cell.verdict];
    const text = `${names[at]}: ${word}. ${cell.decided}`;
    return make(`a.cell.${cell.verdict}`, { href: `#/explain?${new URLSearchParams({ to: row.service, peer: names[at] ?? "" })}`, title: text, "aria-label": text, tabindex: "-1" }, icon(mark));
  })));
  const turn = (by) => () => { query.column = Math.max(0, query.column + by * width()); rows.refresh(false); };
  const previous = make("button", { type: "button", onclick: turn(-1), "aria-label": "Previous peers" }, icon("left"));
  const next = make("button", { type: "button", onclick: turn(1), "aria-label": "Next peers" }, icon("right"));
  const field = (label, key) => {
    const input = make("input", { type: "search", placeholder: label, "aria-label": label, maxlength: 300, oninput: () => { query[key] = input.value; query.column = 0; rows.refresh(true); } });
    return input;
  };
  const legend = make("p.quiet", {}, Object.entries(marks).map(([verdict, [mark, word]]) => [make(`span.legend.${verdict}`, {}, icon(mark), word)]));
  const element = make("div", {}, make(".tools", {}, field("Services", "search"), field("Peers", "peers"), previous, next, number), legend, heads, rows.element);
  element.keep = true;
  return simple("Who may call what", "A row for each service, a column for each peer. A cell says who decided, and leads to the explanation.", { element, refresh: rows.refresh });
}

function auditView() {
  return {
    async refresh() {
      const audit = await ask("audit");
      const text = "Policies in Audit report what they would refuse, and let it pass. This is what changes when they enforce.";
      const rows = audit.rows.map((row) => [link("peer", { name: row.peer }, foreign(row.peer)), make("span", {}, foreign(row.policies.join(", ") || "–")), row.refused, row.narrowed, make("ul.plain", {}, row.examples.map((one) => make("li", {}, link("explain", { to: one.service, peer: row.peer }, foreign(one.service)), ` ${one.narrowed ? "only for some callers" : "refused"}: `, make("bdi.quiet", {}, one.decided))))]);
      return [make("section.card", {}, make("h2", {}, "What enforcing would change"), make("p.quiet", {}, text), rows.length ? table(["peer", "policies", "refused exports", "narrowed exports", "for example"], rows) : make("p", {}, "No peer is in Audit: every refusal takes effect."))];
    },
  };
}

function explainView(start) {
  const choices = make("datalist", { id: "services" });
  const names = make("datalist", { id: "names" });
  const to = make("input", { name: "to", list: "services", required: true, placeholder: "host:port", autocomplete: "off", spellcheck: "false", value: start.to ?? "", maxlength: 300, oninput: suggest });
  const from = make("input", { name: "from", list: "names", placeholder: "a peer's name or a SPIFFE ID; empty for every peer", autocomplete: "off", spellcheck: "false", value: start.peer || start.from || "", maxlength: 2100, oninput: suggest });
  const shown = make("div");
  const answer = make("div", { role: "status" }, shown);
  answer.keep = true;
  let asked = 0;
  async function suggest() {
    const asked = [ask("exports", { search: to.value, limit: 12 }), ask("imports", { search: to.value, limit: 12 }), ask("peers", { search: from.value, limit: 12 })];
    const [ours, theirs, peers] = await Promise.all(asked).catch(() => [{ rows: [] }, { rows: [] }, { rows: [] }]);
    choices.replaceChildren(...[...ours.rows, ...theirs.rows].map((row) => make("option", { value: row.service })));
    names.replaceChildren(...peers.rows.map((row) => make("option", { value: row.name })));
  }
  async function explain() {
    const caller = from.value.trim();
    const who = caller === "" ? {} : caller.includes("://") ? { from: caller } : { peer: caller };
    const mine = ++asked;
    const drawn = await ask("explain", { to: to.value.trim(), ...who }).then(explanation, (error) => make("p.note", {}, error.message));
    if (mine === asked) show(shown, drawn);
  }
  const form = make("form", { onsubmit: (event) => { event.preventDefault(); explain(); history.replaceState(null, "", `#/explain?${new URLSearchParams({ to: to.value, from: from.value })}`); } }, make("label", {}, "Service", to), make("label", {}, "Caller", from), make("button.primary", { type: "submit" }, "Explain"), choices, names);
  form.keep = true;
  let first = true;
  return {
    async refresh() {
      if (first) suggest();
      if (to.value && (first || shown.firstChild)) explain();
      const is = first;
      first = false;
      return is ? [make("section.card", {}, make("h2", {}, "May this call pass?"), make("p.quiet", {}, "The steps of the decision, from the table in force: the same answer as fedgate explain."), form), answer] : null;
    },
  };
}

function explanation(found) {
  const step = (holds, check, detail) => make("li", {}, make(`b.${holds ? "good" : "bad"}`, { "aria-label": holds ? "holds" : "does not hold" }, icon(holds ? "check" : "cross")), make("span", {}, check), make("bdi", {}, detail));
  const audited = found.passes && !found.peers?.length && found.reason && found.reason !== "granted";
  const verdict = audited ? "passes in audit mode; enforced, it would be refused" : found.passes ? "passes" : "does not pass";
  return make("section.card", {}, make("h2", {}, foreign(found.to)), make("ol.steps", {}, found.steps.map((one) => step(one.holds, one.check, one.detail)), (found.peers ?? []).map((one) => step(one.passes, make("span", {}, "peer ", foreign(one.peer)), one.detail))),
    make(`p.verdict.${audited ? "good.warn" : found.passes ? "good" : "bad"}`, {}, found.peers?.length ? `${verdict} for ${found.peers.filter((one) => one.passes).length} of ${count(found.peers.length, "peer")}` : verdict, found.reason && !found.peers?.length ? make("span", {}, ": ", make("code", {}, found.reason)) : null));
}

/** Rows with a key each. Equal rows are told apart by how many older ones there are. */
function keyed(rows) {
  const seen = new Map();
  return rows.toReversed().map((row) => {
    const text = JSON.stringify(row);
    seen.set(text, (seen.get(text) ?? 0) + 1);
    return { ...row, key: `${text} ${seen.get(text)}` };
  }).toReversed();
}

function refusalsView() {
  return {
    async refresh() {
      const found = await ask("refusals");
      const busy = found.reasons.filter((row) => row.refused + row.audited > 0);
      const rows = (busy.length ? busy : found.reasons).map((row) => [make("code", {}, row.reason), ...(found.totals.is ? [row.refused, row.audited] : []), make("span", {}, row.meaning, " ", make("b", {}, row.advice))]);
      const reason = make("section.card", {}, make("h2", {}, "By reason"), found.totals.is ? null : make("p.note", {}, found.totals.why), found.totals.is && !busy.length ? make("p", {}, "The gateways have refused nothing since they started. These are the reasons that there are:") : null,
        table(found.totals.is ? ["reason", "refused", "audited", "what to do"] : ["reason", "what to do"], rows));
      const peers = found.peers.length ? make("section.card", {}, make("h2", {}, "By peer"), table(["peer", "refused", "audited", "granted"], found.peers.map((row) => [row.peer.startsWith("_") ? "others" : link("peer", { name: row.peer }, foreign(row.peer)), row.refused, row.audited, row.allowed]))) : null;
      const latest = found.latest.is;
      return [reason, peers, make("section.card", {}, make("h2", {}, "Latest"), latest ? latest.length ? table(["when", "reason", "caller", "service", ""], keyed(latest).map((row) => Object.assign([when(row.at), make("code", {}, row.reason), make("span", {}, foreign(row.caller ?? row.client ?? "unknown"), row.peer ? make("span.quiet", {}, " peer ", foreign(row.peer)) : null), foreign(row.service ?? "–"), row.service && !row.service.startsWith("outbound_") ? link("explain", row.caller ? { to: row.service, from: row.caller } : { to: row.service }, "Explain") : ""], { key: row.key }))) : make("p", {}, "The access log has no refused connection.") : make("p.note", {}, found.latest.why))];
    },
  };
}

export const views = { federation, exports: exportsView, imports: importsView, matrix: matrixView, audit: auditView, explain: explainView, refusals: refusalsView, changes: changesView };

const facts = (pairs) => make("dl", {}, pairs.filter(Boolean).map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
const listed = (title, rows) => (rows.length ? [make("h3", {}, title), make("ul.plain", {}, rows.map((row) => make("li", {}, row)))] : []);

function peerPanel({ name }) {
  return async () => {
    const peer = await ask("peer", { name });
    const { row, view } = peer;
    const document = (one) => make("span", {}, make("code", {}, one.name), " confirmed ", when(one.confirmed), one.stale ? [", stale ", when(one.stale), ", expires ", when(one.expires), ` (then ${one.then})`] : "");
    return [
      make("p", {}, state(row), " ", row.mode === "Audit" || row.mode === "audit" ? badge("warn", "audit") : null),
      trouble(row) ? make("p.wrap", {}, make("bdi", {}, row.state)) : null,
      ...listed("What is missing", peer.missing.map((one) => [badge(...(turns[one.turn] ?? ["plain", "wait"])), " ", make("bdi", {}, one.what)])),
      peer.held ? make(".note", {}, make("b", {}, "Held since "), when(peer.held.since), make("p", {}, make("bdi", {}, peer.held.change)), make("p", {}, make("bdi", {}, peer.held.why)), peer.held.command ? make("p", {}, "Compare the fingerprints with the peer's operator, then: ", make("code", {}, peer.held.command)) : make("p", {}, "A pin excludes it: only a changed pin releases it.")) : null,
      make("h3", {}, "Peer"),
      facts([["trust domain", foreign(row.trustDomain)], ["UUID", make("code", {}, peer.clusterUuid ?? "not known")], ["metadata", foreign(peer.metadataEndpoint)], peer.source ? ["file", foreign(peer.source)] : null, ["exports to it", make("span", {}, link("exports", { peers: name }, row.grantedExports))], ["imports", link("imports", { peers: name }, row.imports)], row.traffic ? ["connections", traffic(row.traffic)] : null, row.calls ? ["calls", calls(row.calls)] : null]),
      ...listed("Documents", peer.documents.map(document)),
      make("h3", {}, "Roots in force"),
      peer.roots.length ? table(["root", "ends"], peer.roots.map((root) => [make("span", {}, make("code", {}, root.fingerprint), make("div.quiet", {}, foreign(root.subject))), left(root.notAfter)])) : make("p.bad", {}, "None: no identity of this peer is believed."),
      peer.unusedRoots.length ? make("p.warn", {}, `Not used: ${peer.unusedRoots.join(", ")}`) : null,
      ...listed("Gateways", peer.gateways.map((one) => [make("code", {}, one.announced), one.addresses.join(", ") === one.announced ? "" : make("span.quiet", {}, ` at ${one.addresses.join(", ")}`), one.locality ? make("span.quiet", {}, ` in ${one.locality}`) : ""])),
      ...listed("Our gateways, as it is told", peer.told.map((one) => [make("code", {}, one)])),
      make("h3", {}, "Its view of this cluster"),
      view ? facts([["our document", view.current ? "the newest" : view.hasDocument ? "an older one" : "none"], ["fetch", view.fetch ? make("span", {}, view.fetch.reason, " since ", when(view.fetch.since)) : "not known"], ["probe", view.probe ? make("span", {}, view.probe.reason, " since ", when(view.probe.since)) : "none"], ["our gateways", foreign(view.gateways.join(", ") || "none")], ["our clock", view.clockAhead === null ? "not known" : view.clockAhead === 0 ? "agrees" : `${view.clockAhead} s ahead`]]) : make("p.quiet", {}, "It does not say."),
      ...(view ? listed("What differs", view.differences.map((one) => make("bdi", {}, one.text))) : []),
      make("h3", {}, "Conditions"),
      table(["condition", "status", "since", "message"], peer.conditions.map((one) => [one.type, badge(one.well === null ? "plain" : one.well ? "good" : "bad", `${one.status} ${one.reason}`), one.since ? when(one.since) : "", make("bdi", {}, one.message)])),
      ...listed("Findings", peer.findings.map((one) => [badge(severities[String(one.severity).toLowerCase()] ?? "plain", String(one.severity).toLowerCase()), " ", make("bdi", {}, one.text)])),
      ...listed("History", [...peer.notices.map((one) => [when(one.last ?? one.since), " ", badge("plain", one.reason), " ", make("bdi", {}, one.message)]), ...peer.changes.map((one) => [when(one.at), " ", badge("plain", one.kind), " ", make("bdi", {}, one.text)])]),
    ];
  };
}

function exportPanel({ name }) {
  return async () => {
    const found = await ask("export", { name });
    const group = (one) => [make("p", {}, badge({ granted: "good", some: "plain", audited: "warn", refused: "bad" }[one.verdict] ?? "plain", (marks[one.verdict] ?? ["", one.verdict])[1]), " ", make("bdi", {}, one.decided)), one.callers.length ? make("p", {}, "callers: ", make("code", {}, one.callers.join(", "))) : null, make("p", {}, one.peers.map((peer) => [link("peer", { name: peer }, foreign(peer)), " "]), one.more ? `and ${count(one.more, "more peer")}` : "")];
    return [make("p", {}, link("explain", { to: name }, "Explain calls to it")), make("p.quiet", {}, "server name ", make("code", {}, found.sni)), found.passthrough ? make("p.note", {}, "TLS passes through the gateway: the workload's own AuthorizationPolicy judges the callers.") : null, found.groups.length ? listed("Peers", found.groups.map(group)) : make("p", {}, "There are no peers.")];
  };
}

export const panels = { peer: peerPanel, export: exportPanel };
