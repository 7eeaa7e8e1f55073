import { getToken, lastId, show, signIn, types, url } from "./contract.js";

// In docs/clients.rst:
import { SSE } from "sse.js";

const authorize = async () => ({ Authorization: `Bearer ${await getToken()}` });

const source = new SSE(url, {
  headers: await authorize(),
  autoReconnect: true,
  start: false,
});
source.lastEventId = lastId;
for (const type of types) source.addEventListener(type, ({ data }) => show(type, data));
source.addEventListener("error", ({ responseCode }) => {
  if (responseCode !== 401 && responseCode !== 403) return; // it reconnects
  source.close();
  signIn();
});
source.addEventListener("readystatechange", async ({ readyState }) => {
  if (readyState === SSE.CLOSED) source.headers = await authorize();
});
source.stream();
