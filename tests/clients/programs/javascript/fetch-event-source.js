import { getToken, lastId, show, signIn, url } from "./contract.js";

// In docs/clients.rst:
import { fetchEventSource } from "@microsoft/fetch-event-source";

class Refused extends Error {}
class Busy extends Error {
  constructor({ status, headers }) {
    super(`answered ${status}`);
    this.retryIn = headers.get("Retry-After") * 1000; // ms
  }
}

fetchEventSource(url, {
  openWhenHidden: true, // or a hidden tab hears nothing
  headers: lastId ? { "last-event-id": lastId } : {},
  fetch: async (address, init) => {
    const headers = { ...init.headers, Authorization: `Bearer ${await getToken()}` };
    return fetch(address, { ...init, headers });
  },
  onopen: async (response) => {
    if (response.status === 401 || response.status === 403) throw new Refused();
    if (!response.ok) throw new Busy(response);
  },
  onmessage: ({ event, data }) => {
    if (data) show(event || "message", data);
  },
  onclose: () => {
    throw new Error("closed"); // or that was the end
  },
  onerror: (error) => {
    if (error instanceof Refused) throw error;
    if (error instanceof Busy && error.retryIn) return error.retryIn;
  },
}).catch(signIn);
