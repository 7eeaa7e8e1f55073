/**
 * The operator's page: asks this server about all nodes, who is online, one user's streams and inbox.
 *
 * The key is kept for this tab only and sent in a header, so it is in no address and no cookie. All
 * text that comes from elsewhere is put in with textContent, never as markup.
 */

const INTERVAL = 3000; // ms between two looks at all nodes
const KEPT_AS = "aionotify.key";
const TEXT = 300; // characters of an event
const CONTEXT = "admin/"; // beside this page, wherever that is
const $ = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat();
const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

let key = sessionStorage.getItem(KEPT_AS);
let last = null; // what the nodes had delivered, and when
let shown = ""; // whose streams are shown
let timer = 0;
let listing = { prefix: "", cursors: [""], counted: "" }; // who is online: the pages up to the one shown

class Refused extends Error {}

async function ask(path, method = "GET") {
  const headers = { Authorization: `Bearer ${key}` };
  const answer = await fetch(CONTEXT + path, { method, headers, cache: "no-store" });
  const json = await answer.json();
  if (answer.ok) return json;
  const { code, message, fields } = json.error;
  const text = Object.entries(fields ?? {}).map((pair) => pair.join(" ")).join("; ") || message;
  const isKeys = answer.status === 401 || code === "not_found";
  throw new (isKeys ? Refused : Error)(text);
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  for (; count >= 1024 && unit < units.length - 1; unit++) count /= 1024;
  return `${count < 10 && unit ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

function since(seconds) {
  const date = new Date(seconds * 1000);
  return (Date.now() - date < 86400000 ? time : day).format(date);
}

const put = (element, text) => {
  if (element.textContent !== text) element.textContent = text; // or a selection would be lost
};

/** Make a table have these rows, of a [text, class] for each cell. */
function fill(id, rows) {
  const body = $(id);
  const heads = body.parentElement.tHead.rows[0].cells;
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, index) => {
    const row = body.rows[index] ?? body.insertRow();
    cells.forEach(([text, style = ""], column) => {
      let cell = row.cells[column];
      if (!cell) {
        cell = row.insertCell();
        cell.dataset.label = heads[column].textContent;
        cell.append(document.createElement("span"));
      }
      cell.className = style;
      put(cell.firstChild, text);
    });
  });
}

/** Events per second of each node since the last look. */
function rates(nodes) {
  const now = performance.now();
  const before = last ?? { at: now, delivered: new Map() };
  last = { at: now, delivered: new Map(nodes.map((each) => [each.node, each.delivered])) };
  return nodes.map(({ node, delivered }) => {
    const was = before.delivered.get(node);
    if (was === undefined || delivered < was) return null;
    return ((delivered - was) * 1000) / (now - before.at);
  });
}

const perSecond = (rate) =>
  rate === null ? "–" : `${rate && rate < 10 ? rate.toFixed(1) : whole.format(Math.round(rate))}/s`;
const sum = (values) => values.reduce((all, value) => all + value, 0);
const nameOf = ({ node, worker }) => (worker === null ? node : `${node} (worker ${worker})`);

function show({ asked, problem, nodes }) {
  const perNode = rates(nodes);
  const known = perNode.filter((rate) => rate !== null);
  const silent = asked - nodes.length;
  const said = problem
    ? `Redis does not pass the question on, so only this node is shown: ${problem}`
    : silent > 0 ? `${silent} of ${asked} nodes did not answer within a second` : "";
  warn(said);
  put($("total-nodes"), whole.format(nodes.length));
  put($("total-delivered"), known.length ? perSecond(sum(known)) : "–");
  for (const name of ["streams", "fell_behind", "dropped", "stalled"]) {
    put($(`total-${name}`), whole.format(sum(nodes.map((each) => each[name]))));
  }
  fill("nodes", nodes.map((each, index) => {
    const wrong = Object.entries(each.problems).map((pair) => pair.join(": "));
    return [
      [nameOf(each)],
      [whole.format(each.streams), "number"],
      [whole.format(each.users), "number"],
      [perSecond(perNode[index]), "number"],
      [bytes(each.buffered_bytes), "number"],
      [each.problems.redis ? "not heard" : `${(each.redis_probe_seconds * 1000).toFixed(1)} ms`, "number"],
      wrong.length ? [wrong.join("; "), "bad"] : ["ok", "good"],
    ];
  }));
  const slow = nodes
    .flatMap((each) => each.slow_streams.map((stream) => ({ ...stream, name: nameOf(each) })))
    .sort((a, b) => b.buffered_bytes - a.buffered_bytes)
    .slice(0, 20);
  fill("slow", slow.map((each) => [
    [each.user_id],
    [each.name],
    [since(each.since)],
    [bytes(each.buffered_bytes), "number"],
  ]));
  $("slow-table").hidden = !slow.length;
  $("slow-none").hidden = slow.length > 0;
  const refused = new Map();
  const refuse = (code, count) => count && refused.set(code, (refused.get(code) ?? 0) + count);
  for (const each of nodes) {
    for (const [code, count] of Object.entries(each.refused)) refuse(code, count);
    refuse("pages of other origins", each.origins_refused);
  }
  fill("refusals", [...refused].sort((a, b) => b[1] - a[1]).map(([code, count]) => [
    [code],
    [whole.format(count), "number"],
  ]));
  $("refusals-table").hidden = !refused.size;
  $("refusals-none").hidden = refused.size > 0;
}

function warn(text) {
  put($("problem"), text);
  $("problem").hidden = !text;
}

function signedIn(is) {
  $("sign-in").hidden = is;
  $("signed-in").hidden = $("sign-out").hidden = !is;
  if (!is) put($("state"), "");
}

function signOut(reason = "") {
  clearTimeout(timer);
  sessionStorage.removeItem(KEPT_AS);
  key = last = null;
  shown = "";
  showStreams([]);
  put($("found"), "");
  showInbox([]);
  put($("in-inbox"), "");
  showUsers([]);
  put($("listed"), "");
  put($("refused"), reason);
  warn("");
  signedIn(false);
  $("key").focus();
}

async function look() {
  clearTimeout(timer);
  const asking = key;
  try {
    const found = await ask("nodes");
    if (key !== asking) return; // signed out meanwhile
    signedIn(true);
    show(found);
    sessionStorage.setItem(KEPT_AS, key);
    put($("state"), `As of ${time.format(new Date())}`);
  } catch (error) {
    if (key !== asking) return;
    if ($("signed-in").hidden || error instanceof Refused) return signOut(error.message);
    warn(`No answer: ${error.message}`);
  }
  if (!document.hidden) timer = setTimeout(look, INTERVAL);
}

function showStreams(nodes) {
  const rows = nodes.flatMap(({ node, streams }) => streams.map((each) => [
    [node],
    [since(each.since)],
    [each.live ? "live" : "catching up"],
    [whole.format(each.events), "number"],
    [bytes(each.buffered_bytes), "number"],
    [each.position, "position"],
  ]));
  fill("streams", rows);
  $("streams-table").hidden = $("end").hidden = !rows.length;
  return rows.length;
}

/** Ask about a user's streams, or end them, and say what came of it. */
async function about(user, method, tell) {
  const asking = key;
  try {
    const answer = await ask(`streams?user_id=${encodeURIComponent(user)}`, method);
    if (key !== asking) return; // signed out meanwhile
    shown = user;
    put($("found"), tell(answer));
    $("found").className = "told";
  } catch (error) {
    if (key !== asking) return;
    if (error instanceof Refused) return signOut(error.message);
    showStreams([]);
    put($("found"), error.message);
    $("found").className = "told bad";
  }
}

function found(user, { asked, problem, nodes }) {
  const count = showStreams(nodes);
  const streams = `${count || "no"} open ${count === 1 ? "stream" : "streams"}`;
  if (problem) return `${user} has ${streams} on this node; no other could be asked: ${problem}`;
  const silent = asked - nodes.length;
  return `${user} has ${streams}${silent > 0 ? `; ${silent} of ${asked} nodes did not answer` : ""}`;
}

function showInbox(events, next = null) {
  fill("inbox", events.map(({ time, read, event, data, event_id: id }) => {
    const text = JSON.stringify(data);
    return [
      [since(time), "short"],
      [read ? "read" : "unread", "short"],
      [event, "type"],
      [text.length > TEXT ? `${text.slice(0, TEXT)}…` : text, "event"],
      [id, "position short"],
    ];
  }));
  $("inbox-table").hidden = !events.length;
  $("older").hidden = next === null;
  $("older").value = next ?? "";
}

/** Show a page of a user's list: the newest events, or those before one of them. */
async function openInbox(user, before = "") {
  const asking = key;
  const query = new URLSearchParams({ user_id: user, limit: 20 });
  if (before) query.set("before", before);
  try {
    const { events, unread, next } = await ask(`inbox?${query}`);
    if (key !== asking) return; // signed out meanwhile
    showInbox(events, next);
    const count = before ? "older events" : `${unread || "no"} unread ${unread === 1 ? "event" : "events"}`;
    put($("in-inbox"), `${user}: ${count}`);
    $("in-inbox").className = "told";
    $("older").dataset.user = user;
  } catch (error) {
    if (key !== asking) return;
    if (error instanceof Refused) return signOut(error.message);
    showInbox([]);
    put($("in-inbox"), error.message);
    $("in-inbox").className = "told bad";
  }
}

function showUsers(users, next = null) {
  $("users").replaceChildren(...users.map((user) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = user;
    button.addEventListener("click", () => {
      $("user").value = user;
      $("find").requestSubmit();
      $("user").focus();
    });
    item.append(button);
    return item;
  }));
  $("users").hidden = !users.length;
  $("previous").disabled = listing.cursors.length < 2;
  $("next").disabled = next === null;
  $("next").value = next ?? "";
  $("pages").hidden = $("previous").disabled && $("next").disabled;
}

function counted({ users, streams, exact }) {
  const about = exact ? "" : "about ";
  return `${about}${whole.format(users)} ${users === 1 ? "user" : "users"}`
    + ` with ${whole.format(streams)} open ${streams === 1 ? "stream" : "streams"}`;
}

/** Show the page of users at the last of these cursors; only the first page counts them. */
async function list(wanted) {
  const asking = key;
  const cursor = wanted.cursors.at(-1);
  const query = new URLSearchParams({ limit: $("list").dataset.limit });
  if (wanted.prefix) query.set("prefix", wanted.prefix);
  if (cursor) query.set("cursor", cursor);
  try {
    const { users, next, nodes, silent, count } = await ask(`users?${query}`);
    if (key !== asking) return; // signed out meanwhile
    listing = { ...wanted, counted: count ? counted(count) : wanted.counted };
    showUsers(users, next);
    const missing = silent ? `; ${silent} of ${nodes} nodes did not answer` : "";
    put($("listed"), `${listing.counted}; page ${listing.cursors.length}${missing}`);
    $("listed").className = "told";
  } catch (error) {
    if (key !== asking) return;
    if (error instanceof Refused) return signOut(error.message);
    showUsers([]);
    put($("listed"), error.message);
    $("listed").className = "told bad";
  }
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  $("key").value = $("refused").textContent = "";
  look();
});
$("sign-out").addEventListener("click", () => signOut());
$("list").addEventListener("submit", (event) => {
  event.preventDefault();
  list({ prefix: $("prefix").value, cursors: [""], counted: "" });
});
$("next").addEventListener("click", () => list({ ...listing, cursors: [...listing.cursors, $("next").value] }));
$("previous").addEventListener("click", () => list({ ...listing, cursors: listing.cursors.slice(0, -1) }));
$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const user = $("user").value;
  about(user, "GET", (answer) => found(user, answer));
});
$("open-inbox").addEventListener("submit", (event) => {
  event.preventDefault();
  openInbox($("inbox-user").value);
});
$("older").addEventListener("click", () => openInbox($("older").dataset.user, $("older").value));
$("end").addEventListener("click", () => {
  $("whose").textContent = shown;
  $("confirm").returnValue = "";
  $("confirm").showModal();
});
$("confirm").addEventListener("close", () => {
  if ($("confirm").returnValue !== "end") return;
  const user = shown;
  about(user, "DELETE", ({ nodes }) => {
    showStreams([]);
    $("user").focus();
    return `The streams of ${user} end: ${nodes} ${nodes === 1 ? "node was" : "nodes were"} told`;
  });
});
document.addEventListener("visibilitychange", () => {
  if (key && !document.hidden) look();
});

if (key) look();
else signOut();
