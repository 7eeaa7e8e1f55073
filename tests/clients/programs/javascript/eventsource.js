import { getToken, lastId, show, signIn, types, url } from "./contract.js";

// In docs/clients.rst:
import { EventSource } from "eventsource";

let cursor = lastId;

function listen() {
  const from = new URL(url);
  if (cursor) from.searchParams.set("last_event_id", cursor);
  const source = new EventSource(from, {
    fetch: async (address, init) => {
      const headers = { ...init.headers, Authorization: `Bearer ${await getToken()}` };
      return fetch(address, { ...init, headers });
    },
  });
  for (const type of types) {
    source.addEventListener(type, ({ data, lastEventId }) => {
      cursor = lastEventId || cursor;
      show(type, data);
    });
  }
  source.addEventListener("error", ({ code }) => {
    if (source.readyState !== source.CLOSED) return; // it reconnects
    if (code === 401 || code === 403) return signIn();
    setTimeout(listen, 1000 + Math.random() * 4000);
  });
}

listen();
// Or a script that does nothing else ends while it waits to reconnect.
setInterval(() => {}, 60_000);
