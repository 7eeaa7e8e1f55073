import { Notifications, eventId, history, isRead } from "/notify/client.js";

const options = {}; // the session's cookie is the token; else { getToken }
const find = (id) => document.getElementById(id);
let items = []; // the newest first
let unread = 0;

const item = (id, { data }, read = false) => ({ id, text: data.text, read });

function draw() {
  find("count").textContent = unread || "";
  const lines = items.map(({ text, read }) => {
    const line = document.createElement("li");
    line.textContent = text; // never as markup: others have written it
    line.className = read ? "" : "unread";
    return line;
  });
  find("list").replaceChildren(...lines);
}

async function load() {
  const page = await history("/notify", options, { limit: 50 });
  items = page.events.map(({ event_id, data, read }) => item(event_id, data, read));
  unread = page.unread;
  draw();
  return page.cursor;
}

const lastEventId = await load();
const notifications = new Notifications("/notify?unread", { ...options, lastEventId });

notifications.addEventListener("message", ({ data, lastEventId }) => {
  const id = eventId(lastEventId);
  if (items.some((other) => other.id === id)) return; // after a gap all that is kept comes
  items.unshift(item(id, JSON.parse(data)));
  unread++;
  draw();
});

find("bell").addEventListener("click", () => notifications.markRead());

notifications.addEventListener("aionotify.read", async ({ data }) => {
  for (const each of items) each.read ||= isRead(JSON.parse(data), each.id);
  ({ unread } = await history("/notify", options, { limit: 1 }));
  draw();
});

notifications.addEventListener("aionotify.gap", load);
