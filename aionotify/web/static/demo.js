/**
 * The demo page: a form that publishes, and a panel for each user's stream.
 *
 * All text that comes from elsewhere is put in with textContent, never as markup.
 */

import { Notifications } from "../notify/client.js";

const settings = JSON.parse(document.querySelector("#settings").textContent);
const KEPT = 50; // events on the page, for each user
const form = document.querySelector("#send");
const result = document.querySelector("#result");

/** One user's stream, and the panel that shows it. */
class Panel {
  #notifications;
  #connectedAt = 0;
  #cursor = "";

  constructor(user, token) {
    this.user = user;
    const section = document.querySelector("#stream").content.cloneNode(true).firstElementChild;
    section.dataset.user = user;
    section.setAttribute("aria-label", `Stream of ${user}`);
    this.section = section;
    this.#find(".avatar").textContent = user[0];
    this.#find("h2").textContent = user;
    this.#find(".events").setAttribute("aria-label", `Notifications of ${user}`);
    this.#find(".cut").addEventListener("click", () => this.#cut());
    this.#find(".reconnect").addEventListener("click", () => this.#reconnect());
    document.querySelector("#streams").append(section);

    this.#show("connecting", "Connecting");
    // The demo speaks HTTP/1.1, over which a browser opens six connections to a host: a stream for
    // each user in each tab would leave none for anything else in the third.
    this.#notifications = new Notifications("notify", { token, share: user });
    this.#notifications.addEventListener("open", () => this.#show("connected", "Connected"));
    this.#notifications.addEventListener("error", ({ detail }) => this.#lost(detail));
    this.#notifications.addEventListener("*", (event) => {
      if (event.type !== "aionotify.open") return this.#receive(event);
      this.#connectedAt = Date.now();
      this.#move(event.lastEventId);
    });
  }

  #find(selector) {
    return this.section.querySelector(selector);
  }

  #cut() {
    this.#notifications.close();
    this.#show("cut", "Cut");
    this.#find(".reconnect").focus();
  }

  #reconnect() {
    this.#show("connecting", "Connecting");
    this.#notifications.open();
    this.#find(".cut").focus();
  }

  #lost({ final, message, retryIn }) {
    if (final) this.#show("cut", `Refused: ${message}`);
    else this.#show("connecting", `Lost; again in ${(retryIn / 1000).toFixed(1)} s`);
  }

  #show(state, text) {
    this.section.dataset.state = state;
    this.#find(".state").textContent = text;
    this.#find(".cursor span").textContent = state === "cut" ? "Will go on after" : "Last cursor";
    this.#find(".cut").disabled = state === "cut";
    this.#find(".reconnect").disabled = state !== "cut";
  }

  #move(cursor) {
    const isNew = cursor !== this.#cursor;
    this.#cursor = cursor;
    this.#find(".cursor code").textContent = cursor;
    return isNew; // only durable events have an id of their own
  }

  #receive(event) {
    const now = Date.now();
    const isControl = event.type.startsWith("aionotify.");
    const isDurable = this.#move(event.lastEventId) && !isControl;
    const json = JSON.parse(event.data);
    const item = document.querySelector("#event").content.cloneNode(true).firstElementChild;
    item.classList.toggle("control", isControl);
    // What was sent before this connection was made has been waiting for it.
    const isLate = json.sent_at < this.#connectedAt;
    if (!isLate) item.querySelector(".missed").remove();
    item.querySelector(".type").textContent = event.type;
    item.querySelector(".text").textContent = isControl
      ? `${json.reason}`
      : json.data?.text ?? JSON.stringify(json.data ?? json);
    const meta = [new Date(now).toLocaleTimeString()];
    if (!isControl) meta.push(isDurable ? "durable" : "ephemeral");
    if (json.sent_at && !isLate) meta.push(`after ${Math.max(0, now - json.sent_at)} ms`);
    item.querySelector(".meta").textContent = meta.join(" · ");
    const list = this.#find(".events");
    list.prepend(item);
    while (list.children.length > KEPT) list.lastElementChild.remove();
  }
}

const panels = settings.users.map(({ user, token }) => new Panel(user, token));
const users = panels.map((panel) => panel.user);

async function publish(event, how) {
  const answer = await fetch(how === "durable" ? "publish" : "demo/ephemeral", {
    method: "POST",
    headers: { Authorization: `Bearer ${settings.key}`, "Content-Type": "application/json" },
    body: JSON.stringify(event),
  });
  const json = await answer.json();
  if (!answer.ok) {
    const { message, fields } = json.error;
    throw new Error(Object.entries(fields ?? {}).map((pair) => pair.join(" ")).join("; ") || message);
  }
  if (how === "ephemeral") return "Published to whoever is connected";
  if (event.recipient_id === "*") return "Stored for everyone";
  const each = Object.entries(json.recipients ?? { [event.recipient_id]: json });
  const told = each.map(([user, { online }]) => `${user} is ${online ? "connected" : "away"}`);
  return `Stored; ${told.join(", ")}`;
}

form.addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const { to, how, type, text } = Object.fromEntries(new FormData(form));
  const event = {
    recipient_id: { both: users, everyone: "*" }[to] ?? to,
    ...(type && { event: type }),
    data: { text },
    sent_at: Date.now(),
  };
  try {
    result.textContent = await publish(event, how);
    result.classList.remove("failed");
  } catch (error) {
    result.textContent = `Not published: ${error.message}`;
    result.classList.add("failed");
  }
});

form.addEventListener("change", () => {
  for (const how of ["durable", "ephemeral"]) {
    document.getElementById(how).hidden = form.elements.how.value !== how;
  }
});

for (const type of settings.types) document.querySelector("#types").append(new Option("", type));

for (const { does, line } of settings.commands) {
  const item = document.querySelector("#command").content.cloneNode(true).firstElementChild;
  item.querySelector("p").textContent = does;
  item.querySelector("code").textContent = line;
  item.querySelector("button").addEventListener("click", async (click) => {
    await navigator.clipboard.writeText(line);
    click.target.textContent = "Copied";
  });
  document.querySelector("#commands").append(item);
}
