/**
 * The shop's page: each customer's browser, and what the shop can do behind the counter.
 *
 * All text that comes from elsewhere is put in with textContent, never as markup.
 */

const settings = JSON.parse(document.querySelector("#settings").textContent);
const KEPT = 50; // notifications on the page, for each customer
const SHORT = 4; // of them without "Show all"
const FRAMES = 8; // under "Details"
const TEXT = 300; // characters of a notification, or of a frame's data
const TOAST = 5000; // ms
const TOASTS = 2; // at a time, for each customer
const TOGETHER = 100; // ms in which what arrives is one toast and one announcement
const BACKLOG = 500; // ms after a stream begins in which what arrives had been waiting
const TIMEOUT = 20_000; // ms for an answer
const RETRY = 1000; // ms between two questions for the list

const find = (selector, root = document) => root.querySelector(selector);
const make = (template) => find(template).content.cloneNode(true).firstElementChild;
const money = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });

/** What the shop's own events are called here; others have their type as title. */
const KINDS = new Map([
  ["order.confirmed", { icon: "receipt", title: () => "Order confirmed" }],
  ["order.shipped", { icon: "truck", title: () => "Order on its way" }],
  ["message", { icon: "chat", title: ({ from }) => (isText(from) ? `Message from ${from}` : "Message") }],
  ["announcement", { icon: "horn", title: () => "From the shop" }],
]);

const isText = (value) => typeof value === "string" && value !== "";
const isTime = (value) => Number.isInteger(value) && Math.abs(value) <= 8.64e15;
const cut = (text) => (text.length > TEXT ? `${text.slice(0, TEXT)}…` : text);

/** What a published event, which may be anything, looks like. */
function shown(type, json) {
  const data = json.data ?? {};
  const { icon, title } = KINDS.get(type) ?? { icon: "note", title: () => type };
  const text = isText(data.text) ? data.text : isText(data) ? data : JSON.stringify(json.data ?? json);
  return { icon, title: cut(title(data)), text: cut(text) };
}

function clock(time) {
  const date = new Date(time);
  const isToday = date.toDateString() === new Date().toDateString();
  const day = isToday ? {} : { day: "numeric", month: "short", year: "numeric" };
  return date.toLocaleString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", ...day });
}

/** Ask the shop for something; throws an Error that says what is wrong. */
async function ask(path, token, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT),
    });
  } catch (error) {
    const isSlow = error.name === "TimeoutError";
    throw new Error(isSlow ? `no answer for ${TIMEOUT / 1000} seconds` : "the shop cannot be reached");
  }
  const json = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(json.error?.message ?? `the shop answered ${answer.status}`);
  return json;
}

/** Do something, and say in `result` what became of it. */
async function tell(result, act) {
  result.classList.remove("failed");
  result.textContent = "…";
  try {
    result.textContent = await act();
  } catch (error) {
    result.textContent = `Not done: ${error.message}`;
    result.classList.add("failed");
  }
}

/** One customer's browser. */
class Browser {
  #token;
  #module;
  #stream;
  #read = { upto: [], ids: [] }; // what is, on all of the user's devices, since the list came
  #isMarked = true; // whether the server knows what was read here
  #items = []; // the newest first: { id, mark, element, ... }, without an id if it is not kept
  #arrived = []; // and not announced yet
  #connectedAt = Infinity; // ms
  #isCut = false;
  #timer;
  #cursor = "";

  constructor({ user, token }, others) {
    this.user = user;
    this.#token = token;
    this.section = make("#browser");
    this.section.id = `of-${user}`;
    this.section.dataset.user = user;
    this.section.setAttribute("aria-label", `Browser of ${user}`);
    this.#find(".avatar").textContent = user[0];
    this.#find("h2").textContent = user;
    this.#find(".alone").href = user;
    this.#find(".alone").setAttribute("aria-label", `Open the browser of ${user} in a tab of its own`);
    this.#find(".heard").setAttribute("aria-label", `Notifications of ${user}`);
    this.#find(".bell").addEventListener("click", () => this.#readAll());
    this.#find(".more").addEventListener("click", () => this.#showAll());
    this.#find(".cut").addEventListener("click", () => this.#cut());
    for (const product of settings.products) this.#offer(product);
    this.#write(others[0]);
    this.#show("connecting", "Connecting");
    this.#render();
  }

  #find(selector) {
    return find(selector, this.section);
  }

  /** Ask for the list, and then for what comes after it. */
  async listen(module) {
    this.#module = module;
    const url = `${settings.server}/notify`;
    const options = { token: this.#token, share: this.user };
    let page;
    while (!page) {
      try {
        page = await module.history(url, options, { limit: KEPT });
      } catch (error) {
        this.#lost(error);
        if (error.final) return;
        await new Promise((done) => setTimeout(done, RETRY));
      }
    }
    for (const { event, data, event_id: id, time: published, read } of page.events.toReversed()) {
      const time = isTime(data.sent_at) ? data.sent_at : published * 1000;
      this.#add({ id, mark: read ? "read" : "new", time, ...shown(event, data) }, true);
    }
    this.#stream = new module.Notifications(`${url}?unread`, { ...options, lastEventId: page.cursor });
    this.#stream.addEventListener("open", () => this.#show("connected", "Connected"));
    this.#stream.addEventListener("error", ({ detail }) => this.#lost(detail));
    this.#stream.addEventListener("*", (event) => this.#hear(event));
    if (this.#isCut) this.#stream.close();
  }

  #show(state, text) {
    this.section.dataset.state = state;
    this.#find(".bar .state").textContent = text;
  }

  #lost({ final, message }) {
    this.#find(".trouble").textContent = `${new Date().toLocaleTimeString()}: ${message}`;
    if (final) this.#show("cut", `Refused: ${message}`);
    else this.#show("connecting", "Connection lost. Reconnecting");
  }

  #cut() {
    this.#isCut = !this.#isCut;
    this.#find(".cut").textContent = this.#isCut ? "Connect it again" : "Cut this browser off";
    this.#find(".cut").classList.toggle("primary", this.#isCut);
    if (this.#isCut) {
      this.#stream?.close();
      this.#show("cut", "Cut off");
    } else {
      this.#show("connecting", "Connecting");
      this.#stream?.open();
    }
  }

  /** Ask the shop, as long as this browser is not cut off from it too. */
  #ask(path, body) {
    if (this.#isCut) throw new Error("this browser is cut off");
    return ask(path, this.#token, body);
  }

  #offer({ id, name, price }) {
    const card = make("#product");
    find("use", card).setAttribute("href", `#${id}`);
    find(".name", card).textContent = name;
    find(".price", card).textContent = money.format(price / 100);
    const buy = find("button", card);
    buy.setAttribute("aria-label", `Buy ${name}`);
    buy.addEventListener("click", () =>
      tell(this.#find(".bought"), async () => {
        const { order } = await this.#ask("orders", { product: id });
        return `Order ${order} is placed. It ships soon.`;
      }),
    );
    this.#find(".products").append(card);
  }

  #write(to) {
    const form = this.#find(".message");
    const [label, input] = [find("label", form), find("input", form)];
    if (!to) return form.remove();
    input.id = `message-of-${this.user}`;
    input.value = "Shall we have tea?";
    label.htmlFor = input.id;
    label.textContent = `Message to ${to}`;
    form.addEventListener("submit", (submit) => {
      submit.preventDefault();
      tell(find(".result", form), async () => {
        await this.#ask("messages", { to, text: input.value });
        return "Sent";
      });
    });
  }

  #hear({ type, data, lastEventId: id }) {
    const isDurable = id !== this.#cursor;
    this.#cursor = id;
    this.#find(".cursor").textContent = id;
    this.#frame(type, data, isDurable && id);
    const json = JSON.parse(data);
    if (type === "aionotify.open") {
      this.#connectedAt = Date.now();
      if (!this.#isMarked) this.#mark();
      this.#settle();
      askServer(); // it may be another process
    } else if (type === "aionotify.drain") this.#show("connecting", "The server restarts. Reconnecting");
    else if (type === "aionotify.gap") this.#gap();
    else if (type === "aionotify.read") this.#follow(json);
    else if (!type.startsWith("aionotify.")) {
      this.#take(type, json, isDurable ? this.#module.eventId(id) : undefined);
    }
  }

  #frame(type, data, id) {
    const item = document.createElement("li");
    const pre = document.createElement("pre");
    pre.textContent = `event: ${cut(type)}\ndata: ${cut(data)}${id ? `\nid: ${id}` : ""}`;
    item.append(pre);
    const frames = this.#find(".frames");
    frames.prepend(item);
    while (frames.children.length > FRAMES) frames.lastElementChild.remove();
  }

  #gap() {
    const text = "The inbox did not keep everything that came meanwhile.";
    this.#add({ icon: "note", title: "Some notifications are gone", text, time: Date.now(), mark: "new" });
  }

  #take(type, json, id) {
    if (id && this.#items.some((item) => item.id === id)) return; // after a gap the inbox tells all it has
    const now = Date.now();
    const time = isTime(json.sent_at) ? json.sent_at : undefined;
    const isLate = (time ?? now - BACKLOG) < this.#connectedAt;
    const isRead = id !== undefined && this.#module.isRead(this.#read, id);
    const mark = isRead ? "read" : isLate ? "missed" : "new";
    this.#add({ id, mark, time: time ?? (isLate ? undefined : now), ...shown(type, json) }, isRead);
  }

  #add(item, isKnown = false) {
    item.element = drawn(item);
    item.element.classList.toggle("unread", item.mark !== "read");
    this.#items.unshift(item);
    this.#find(".list").prepend(item.element);
    for (const old of this.#items.splice(KEPT)) old.element.remove();
    if (!isKnown) this.#arrived.push(item);
    this.#settle();
  }

  /** Count and announce once for all that arrives together. */
  #settle() {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#render();
      this.#announce(this.#arrived.splice(0));
    }, TOGETHER);
  }

  #announce(items) {
    const missed = items.filter(({ mark }) => mark === "missed");
    const live = items.filter(({ mark }) => mark !== "missed");
    const many = { icon: "bell", title: "While you were away", text: `${missed.length} notifications` };
    const single = missed.map(({ icon, title, text }) => ({ icon, title, text: `${text} (while you were away)` }));
    for (const item of [...(missed.length > 1 ? [many] : single), ...live]) {
      toast(this.user, item);
      const line = document.createElement("p");
      line.textContent = `${item.title}: ${item.text}`;
      this.#find(".heard").append(line);
    }
    while (this.#find(".heard").children.length > KEPT) this.#find(".heard").firstElementChild.remove();
  }

  /** Mark as read what is, on whichever device. */
  #follow({ upto, ids }) {
    this.#read.upto.push(...upto);
    this.#read.ids.push(...ids);
    for (const item of this.#items) {
      if (item.id && this.#module.isRead(this.#read, item.id)) item.mark = "read";
    }
    this.#render();
  }

  /** Show what is read, and what is not. */
  #render() {
    for (const item of this.#items) {
      const isUnread = item.mark !== "read";
      item.element.classList.toggle("unread", isUnread);
      find(".unread-word", item.element).textContent = isUnread ? "Unread: " : "";
    }
    const all = this.#items.length;
    this.unread = this.#items.filter(({ mark }) => mark !== "read").length;
    const bell = this.#find(".bell");
    bell.setAttribute("aria-label", `${this.unread} unread notifications of ${this.user}. Read them`);
    find(".count", bell).textContent = this.unread;
    find(".count", bell).hidden = this.unread === 0;
    const empty = this.#find(".empty");
    empty.hidden = all > 0;
    const isThere = this.#connectedAt < Infinity;
    empty.textContent = isThere ? "Nothing yet. Buy something, and see." : "Waiting for the server.";
    const more = this.#find(".more");
    more.hidden = all <= SHORT;
    more.textContent = more.getAttribute("aria-expanded") === "true" ? "Show fewer" : `Show all ${all}`;
    dispatchEvent(new Event("unread"));
  }

  #readAll() {
    for (const item of this.#items) item.mark = "read";
    this.#mark();
    this.#render();
    const heading = this.#find("h3");
    heading.focus({ preventScroll: true });
    heading.scrollIntoView({ block: "nearest" });
  }

  /** Tell the server what was read here, and with it the user's other devices; later if it is gone. */
  async #mark() {
    this.#isMarked = true;
    try {
      if (this.#isCut) throw new Error("this browser is cut off");
      await this.#stream?.markRead();
    } catch {
      this.#isMarked = false;
    }
  }

  #showAll() {
    const more = this.#find(".more");
    const isAll = more.getAttribute("aria-expanded") === "true";
    more.setAttribute("aria-expanded", !isAll);
    this.#find(".list").classList.toggle("all", !isAll);
    this.#render();
  }
}

function drawn({ icon, title, text, time, mark }) {
  const element = make("#item");
  find("use", element).setAttribute("href", `#${icon}`);
  find("bdi", element).textContent = title;
  find(".text", element).textContent = text;
  if (time === undefined) find("time", element).remove();
  else {
    find("time", element).dateTime = new Date(time).toISOString();
    find("time", element).textContent = clock(time);
  }
  if (mark !== "missed") find(".away", element).remove();
  return element;
}

/** Show it for a while; the list keeps it, and the live region says it. */
function toast(user, { icon, title, text }) {
  const element = make("#toast");
  find("use", element).setAttribute("href", `#${icon}`);
  find(".whom", element).textContent = user;
  find("bdi", element).textContent = title;
  find(".text", element).textContent = text;
  const column = find(`[data-user="${user}"]`, find("#toasts"));
  column.append(element);
  while (column.children.length > TOASTS) column.firstElementChild.remove();
  element.addEventListener("click", () => element.remove());
  setTimeout(() => element.remove(), TOAST);
}

const alone = settings.users.filter(({ user }) => location.pathname === `/${user}`);
const present = alone.length ? alone : settings.users;
const browsers = present.map((each) => {
  const others = settings.users.filter((other) => other !== each).map(({ user }) => user);
  const browser = new Browser(each, others);
  find("#counter").before(browser.section);
  const column = document.createElement("div");
  column.dataset.user = each.user;
  find("#toasts").append(column);
  return browser;
});
find("#layout").dataset.count = find("#toasts").dataset.count = browsers.length;

for (const [id, text] of [...browsers.map(({ user }) => [`of-${user}`, user]), ["counter", "Counter"]]) {
  const link = document.createElement("a");
  link.href = `#${id}`;
  link.textContent = text;
  find("#nav").append(link);
}

addEventListener("unread", () => {
  const unread = browsers.reduce((sum, browser) => sum + (browser.unread ?? 0), 0);
  document.title = unread ? `(${unread}) A small shop` : "A small shop";
});

find("#announce").addEventListener("submit", (submit) => {
  submit.preventDefault();
  tell(find("#announce .result"), async () => {
    await ask("announcements", settings.key, { text: find("#announcement").value });
    return "Announced";
  });
});

function server(state, text) {
  find("#server").dataset.state = state;
  find("#server-state").textContent = text;
}

function runs({ pid }) {
  if (pid === null) server("cut", "Not running");
  else server("connected", `Running, process ${pid}`);
}

for (const [does, meanwhile] of [
  ["restart", "Restarting"],
  ["kill", "Killed. The next one is on its way"],
]) {
  find(`#${does}`).addEventListener("click", async () => {
    server("connecting", meanwhile);
    try {
      runs(await ask(`server/${does}`, settings.key, {}));
    } catch (error) {
      server("cut", `Not done: ${error.message}`);
    }
  });
}

function askServer() {
  fetch("server")
    .then((answer) => answer.json())
    .then(runs, () => server("cut", "The shop cannot be reached"));
}
askServer();

for (const { does, line } of settings.commands) {
  const item = make("#command");
  find("p", item).textContent = does;
  find("code", item).textContent = line;
  find("button", item).setAttribute("aria-label", `Copy: ${does}`);
  find("button", item).addEventListener("click", async ({ target }) => {
    const isCopied = await navigator.clipboard.writeText(line).then(() => true, () => false);
    target.textContent = isCopied ? "Copied" : "Not allowed";
  });
  find("#commands").append(item);
}

// Last, as it is another process's: the page is there without it.
try {
  const module = await import(`${settings.server}/notify/client.js`);
  for (const browser of browsers) browser.listen(module);
} catch {
  find("#problem").hidden = false;
  find("#problem").textContent = "The notification server does not answer. Load this page again.";
}
