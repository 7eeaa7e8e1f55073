import { getToken, lastId, show, types, url } from "./contract.js";

// In docs/clients.rst:
import { Agent, EventSource } from "undici";

let cursor = lastId;

const authorized = (dispatch) => (options, handler) => {
  getToken().then(
    (token) => {
      const headers = { ...options.headers, authorization: `Bearer ${token}` };
      dispatch({ ...options, headers }, handler);
    },
    (error) => handler.onResponseError(null, error),
  );
  return true;
};
const dispatcher = new Agent({ bodyTimeout: 40_000 }).compose(authorized);

function listen() {
  const from = new URL(url);
  if (cursor) from.searchParams.set("last_event_id", cursor);
  const source = new EventSource(from, { node: { dispatcher } });
  for (const type of types) {
    source.addEventListener(type, ({ data, lastEventId }) => {
      cursor = lastEventId || cursor;
      show(type, data);
    });
  }
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return; // it reconnects
    setTimeout(listen, 1000 + Math.random() * 4000);
  });
}

listen();
// Or a script that does nothing else ends while it waits to reconnect.
setInterval(() => {}, 60_000);
