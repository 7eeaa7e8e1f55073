import { getToken, lastId, show, signIn, types, url } from "./contract.js";

// In docs/clients.rst:
import { EventSourcePolyfill } from "event-source-polyfill";

const authorize = async () => ({ Authorization: `Bearer ${await getToken()}` });
let cursor = lastId;

async function listen() {
  const from = new URL(url, location);
  if (cursor) from.searchParams.set("lastEventId", cursor);
  const source = new EventSourcePolyfill(from, { headers: await authorize() });
  for (const type of types) {
    source.addEventListener(type, ({ data, lastEventId }) => {
      cursor = lastEventId || cursor;
      show(type, data);
    });
  }
  source.addEventListener("error", async ({ status }) => {
    if (status === 401 || status === 403) return signIn();
    if (source.readyState === EventSourcePolyfill.CLOSED) {
      setTimeout(listen, 1000 + Math.random() * 4000);
    } else {
      source.headers = await authorize(); // for the next connection
    }
  });
}

listen();
