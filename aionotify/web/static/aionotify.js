/**
 * The notifications of one user, in a browser: EventSource, with tickets and a will to come back.
 *
 *     import { Notifications } from "./aionotify.js";
 *
 *     const notifications = new Notifications("https://push.example.com/notify", {
 *       token: async () => (await fetch("/session/token")).text(), // or the token itself
 *     });
 *     notifications.addEventListener("order.shipped", ({ data }) => show(JSON.parse(data)));
 *     notifications.addEventListener("aionotify.gap", refetchWhatIsShown);
 *     notifications.addEventListener("error", ({ detail }) => {
 *       if (detail.final) signInAgain(); // else it comes back by itself, in detail.retryIn ms
 *     });
 *
 * EventSource cannot send a token, and shows its URL to every log on the way. So each connection
 * gets a ticket first, good for one use within seconds. As EventSource's own reconnecting would
 * repeat a used one, on any error this closes, gets a new ticket and goes on after `lastEventId`.
 * Events come as MessageEvents of their own type; EventSource has no way to listen to all types.
 * `open` and `error` are this module's own; `readyState` is 0 connecting, 1 open, 2 closed.
 */

const [FIRST_DELAY, LONGEST_DELAY] = [1000, 30_000]; // ms; doubled with each failure in a row
const LONGEST_WAIT = 3_600_000; // ms, whatever the server asks for

export class Notifications extends EventTarget {
  readyState = EventSource.CLOSED;
  #url;
  #token;
  #types = new Set(["message", "aionotify.open"]); // the latter says where the stream begins
  #source = null;
  #attempt = new AbortController();
  #timer = 0;
  #failures = 0;

  /** `token`: a text, or a function that gives (a promise of) one and is asked at each connect. */
  constructor(url, { token, lastEventId = "" }) {
    super();
    this.#url = new URL(url, document.baseURI);
    this.#token = token;
    this.lastEventId = lastEventId;
    this.open();
  }

  /** Connect after `close` or a final error, and go on after `lastEventId`. */
  open() {
    if (this.readyState !== EventSource.CLOSED) return;
    this.#failures = 0;
    this.#connect();
  }

  /** Disconnect, and stay so. */
  close() {
    this.#stop(EventSource.CLOSED);
  }

  addEventListener(type, ...rest) {
    super.addEventListener(type, ...rest);
    if (type === "open" || type === "error" || this.#types.has(type)) return;
    this.#types.add(type);
    this.#source?.addEventListener(type, this.#forward);
  }

  async #connect() {
    this.#stop(EventSource.CONNECTING);
    const { signal } = (this.#attempt = new AbortController());
    try {
      const url = new URL(this.#url);
      url.searchParams.set("ticket", await this.#ticket(signal));
      if (this.lastEventId) url.searchParams.set("last_event_id", this.lastEventId);
      if (signal.aborted) return;
      this.#source = new EventSource(url);
    } catch (error) {
      return signal.aborted ? undefined : this.#lost(error);
    }
    this.#source.onopen = () => {
      this.#failures = 0;
      this.readyState = EventSource.OPEN;
      this.dispatchEvent(new Event("open"));
    };
    this.#source.onerror = () => this.#lost({}); // it does not say what the matter is
    for (const type of this.#types) this.#source.addEventListener(type, this.#forward);
  }

  async #ticket(signal) {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    const url = new URL(this.#url);
    url.pathname += "/ticket";
    const headers = { Authorization: `Bearer ${token}` };
    const answer = await fetch(url, { method: "POST", headers, cache: "no-store", signal });
    const { ok, status } = answer;
    if (ok) return (await answer.json()).ticket;
    const final = status < 500 && ![408, 425, 429].includes(status); // another try may help these
    throw { status, final, retryAfter: Number(answer.headers.get("Retry-After")) * 1000 || 0 };
  }

  #forward = (event) => {
    const { type, data, origin } = event;
    this.lastEventId = event.lastEventId || this.lastEventId; // each EventSource begins without one
    this.dispatchEvent(new MessageEvent(type, { data, origin, lastEventId: this.lastEventId }));
  };

  #lost({ status = 0, final = false, retryAfter = 0 }) {
    this.#stop(final ? EventSource.CLOSED : EventSource.CONNECTING);
    // Jitter, so that the clients of a server that went away do not all come back at once.
    const backoff = Math.min(FIRST_DELAY * 2 ** this.#failures++, LONGEST_DELAY) / 2;
    const least = Math.min(Math.max(backoff, retryAfter), LONGEST_WAIT);
    const retryIn = final ? Infinity : least + 2 * backoff * Math.random();
    if (!final) this.#timer = setTimeout(() => this.#connect(), retryIn);
    this.dispatchEvent(new CustomEvent("error", { detail: { status, final, retryIn } }));
  }

  #stop(readyState) {
    clearTimeout(this.#timer);
    this.#attempt.abort();
    this.#source?.close();
    this.#source = null;
    this.readyState = readyState;
  }
}
