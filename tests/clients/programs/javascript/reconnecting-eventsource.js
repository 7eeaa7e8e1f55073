import { lastId, show, types, url } from "./contract.js";

// In docs/clients.rst:
import ReconnectingEventSource from "reconnecting-eventsource";

const source = new ReconnectingEventSource(url, { lastEventId: lastId, max_retry_time: 5000 });
for (const type of types) source.addEventListener(type, ({ data }) => show(type, data));
