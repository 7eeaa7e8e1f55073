/**
 * The notifications of one user, in a browser. docs/browser.rst tells how to use it, aionotify.d.ts
 * what each thing takes and gives.
 */

const OPEN = "aionotify.open";
const GAP = "aionotify.gap";
const NOTICES = ["aionotify.read", "aionotify.recalled"]; // for all of a user's connections
const PERSONAL = ["aionotify.expired", "aionotify.drain", "aionotify.position"]; // of one connection
const FIRST_RETRY = 1000; // ms, until the server has said `retry:`
const SHORTEST_RETRY = 100; // ms, whatever it says
const LONGEST_BACKOFF = 30_000; // ms between attempts, where the server does not ask for more
const LONGEST_WAIT = 3_600_000; // ms, likewise
const FIRST_WORD_TIMEOUT = 30_000; // ms for a token and the first word of a stream
const ANSWER = 5000; // ms in which a tab that is awake has answered another one
const LARGEST = 2 ** 25; // characters of an event: twice what a server can allow
const KEPT = 2 ** 20; // characters of events, for tabs that were away

const weigh = (event) => 99 + (event.data ?? "").length;

const failure = (message, final = false, more) =>
  Object.assign(new Error(message), { final, ...more });

const absolute = (url) => new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);

/** What the page gives: it may throw, reject with anything, or never answer. */
function ask(give, refused, signal) {
  const aborted = new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
  return Promise.race([(async () => give(refused))(), aborted]);
}

/** An answer with a status that is fine; `refused` is whether the last token was. */
async function request(url, { token, getToken, withCredentials }, refused, init) {
  const headers = { ...init.headers };
  if (!withCredentials && (getToken || token !== undefined)) {
    const given = getToken ? await ask(getToken, refused, init.signal) : token;
    if (!given) throw failure("there is no token");
    headers.Authorization = `Bearer ${given}`;
  }
  const credentials = withCredentials ? "include" : "same-origin";
  const answer = await fetch(url, { credentials, ...init, headers });
  const { ok, status, body } = answer;
  if (ok) return answer;
  let why = answer.statusText;
  try {
    const { value } = await body.getReader().read();
    why = JSON.parse(new TextDecoder().decode(value)).error.message;
  } catch {} // it comes from a proxy
  const after = answer.headers.get("Retry-After");
  const retryAfter = (after >= 0 ? after * 1000 : Date.parse(after) - Date.now()) || 0;
  const final = status < 500 && ![404, 408, 425, 429].includes(status); // a deploy's, and waits
  throw failure(`${status} ${why}`, final, { status, retryAfter });
}

/** Ask for something of the inbox; once more with another token if the first one is refused. */
async function askInbox(url, options = {}, init = {}) {
  const { ticket, getToken } = options;
  for (let refused = false; ; refused = true) {
    const signal = AbortSignal.timeout(FIRST_WORD_TIMEOUT);
    try {
      if (typeof ticket === "function") {
        url.searchParams.set("ticket", await ask(ticket, refused, signal));
      }
      const headers = { Accept: "application/json" };
      if (init.body) headers["Content-Type"] = "application/json";
      return await (await request(url, options, refused, { ...init, headers, signal })).json();
    } catch (error) {
      if (error?.status !== 401 || refused || !getToken) throw error;
    }
  }
}

export function history(url, options, query = {}) {
  const at = new URL("inbox", absolute(url));
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) at.searchParams.append(name, each);
  }
  return askInbox(at, options);
}

export function markRead(url, options, marks) {
  const at = new URL("inbox/read", absolute(url));
  return askInbox(at, options, { method: "PUT", body: JSON.stringify(marks) });
}

export function eventId(cursor) {
  const parts = cursor.split(".");
  const mark = parts.at(-1);
  if (mark === "all") return `all.${parts[2]}`;
  return `${mark}.${/^g\d$/.test(mark) ? parts[2 + Number(mark[1])] : parts.at(-2)}`;
}

/** Places in one inbox begin with its mark, and their last 14 characters compare as text. */
export function isRead({ upto, ids }, id) {
  const isOf = (place) => place.slice(0, -14) === id.slice(0, -14);
  return ids.includes(id) || upto.some((place) => isOf(place) && id <= place);
}

/** Whether who is at `by` is beyond the event that came with `id`: it comes no more. */
const passed = (id, by) => {
  const [one, other] = [id.split("."), by.split(".")];
  const at = one.at(-1) === "all" ? 2 : one.length - 2; // its position; see docs/protocol.rst
  return one[0] === other[0] && one[1] === other[1] && one[at] < other[at];
};

/** Events out of bytes, in whatever pieces they come (HTML Standard section 9.2.6). */
export class Parser {
  retry; // ms, once the stream has said so
  #decoder = new TextDecoder(); // drops one BOM
  #line = ""; // whose end has not come yet
  #cr = false; // whether the text so far ends in CR: an LF that follows is part of it
  #type = "";
  #data = "";
  #id;

  /** The events that end in `bytes`; without `data` it is none, and only moves the last id. */
  push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    const events = [];
    if (!text) return events;
    if (this.#cr && text[0] === "\n") text = text.slice(1);
    this.#cr = text.endsWith("\r");
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop();
    for (const line of lines) {
      if (line) this.#field(line);
      else this.#end(events);
    }
    if (this.#line.length + this.#data.length > LARGEST) throw failure("an event is too long", true);
    return events;
  }

  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") this.#data += value + "\n";
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }

  #end(events) {
    const id = this.#id;
    if (this.#data) events.push({ type: this.#type || "message", data: this.#data.slice(0, -1), id });
    else if (id !== undefined) events.push({ id });
    this.#type = this.#data = "";
    this.#id = undefined;
  }
}

/**
 * Whether two ids are the same place: a list gives another one than the stream that was there. A
 * position that ends in an odd digit is a time at which an inbox held nothing newer.
 */
function isSame(a, b) {
  const isTime = (position) => parseInt(position.at(-1), 16) % 2 === 1;
  const isAfter = (time, position) => isTime(time) && (isTime(position) || position < time);
  const [some, others] = [a, b].map((id) => id.split(".").filter((part) => part !== "all"));
  return (
    some.length === others.length &&
    some.every((part, index) => {
      const other = others[index];
      if (part === other) return true;
      return part.length === 14 && (isAfter(part, other) || isAfter(other, part));
    })
  );
}

/** The last id, and the durable events that led there. */
class History {
  again = []; // that were heard already, and will be repeated
  #past;
  #size = 0;
  #kept;

  constructor(id, kept) {
    this.#past = [{ id }];
    this.#kept = kept;
  }

  get id() {
    return this.#past.at(-1).id;
  }

  /** Go on to `event`; whether it is new. */
  add(event) {
    const { type, data, id } = event;
    if (type === GAP) this.again = [];
    if (id === undefined) return true;
    if (id !== this.id) {
      this.#past.push(event);
      this.#size += weigh(event);
      while (this.#size > this.#kept) {
        this.#past.shift();
        this.#size -= weigh(this.#past[0]); // of the first only the id is of use
      }
    }
    // What was recalled meanwhile, or has expired, is not repeated.
    if (id) this.again = this.again.filter((other) => !passed(other.id, id));
    const index = this.again.findIndex((other) => other.type === type && other.data === data);
    if (index >= 0) this.again.splice(index, 1);
    return index < 0;
  }

  /** What came after `id`, or undefined when that is not known. */
  after(id) {
    const index = this.#past.findLastIndex((event) => isSame(event.id, id));
    return id ? (index < 0 ? undefined : this.#past.slice(index + 1)) : [];
  }

  /** Go back to `id`, from where all will be told again; false when that is not known. */
  rewind(id) {
    const later = id === this.id ? [] : id && this.after(id);
    if (!later) return false;
    this.again.push(...later.filter(({ type }) => type && !type.startsWith("aionotify.")));
    for (const event of later) this.#size -= weigh(event);
    this.#past.length -= later.length;
    return true;
  }
}

/**
 * Which tab reads, and what it tells the others. Whoever holds the lock leads. A tab is in step with
 * it from when both are at the same id. One that cannot be told what it missed, as the leader was not
 * there yet, reads a stream of its own until it can.
 */
class Tabs {
  leads = false;
  #alone = false; // reads, and does not lead
  #leader; // with whom we are in step
  #me = Math.random();
  #request; // for the lock
  #release;
  #timer;
  #channel;

  constructor(name, history, act) {
    Object.assign(this, { name, history, act });
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#queue();
    this.#join();
  }

  get reads() {
    return this.leads || this.#alone;
  }

  leave() {
    clearTimeout(this.#timer);
    this.#channel.close();
    this.#request.abort();
    this.#release?.();
  }

  /** `events` that were read, or that the stream was `lost`. */
  tell({ events, lost }) {
    if (!this.leads) return events?.length && this.#ask(); // the leader may be here too, by now
    this.#post({ lost, events: events?.map((e) => (PERSONAL.includes(e.type) ? { id: e.id } : e)) });
  }

  #post(what) {
    this.#channel.postMessage({ from: this.#me, ...what });
  }

  #ask() {
    this.#post({ since: this.history.id });
  }

  async #queue(steal) {
    const { signal } = (this.#request = new AbortController());
    try {
      await navigator.locks.request(this.name, steal ? { steal } : { signal }, () => {
        if (!signal.aborted) return new Promise((done) => this.#lead(done));
      });
    } catch {
      if (signal.aborted) return;
      this.leads = false; // another tab took the lead, as we did not answer
      this.act.halt();
      this.#queue();
      this.#join();
    }
  }

  #lead(release) {
    clearTimeout(this.#timer);
    this.#release = release;
    this.leads = true;
    this.#post({ at: this.history.id });
    if (!this.#alone) this.act.read();
    this.#alone = false;
  }

  #join() {
    this.#leader = undefined;
    this.#ask();
    this.#expect(ANSWER * (1 + Math.random()), () => {
      this.#request.abort();
      this.#queue(true); // it hangs
    });
  }

  /** Hear of the leader within `ms`; else see whether it is there. */
  #expect(ms, otherwise = () => this.#join()) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(otherwise, ms);
  }

  #hear({ from, to, since, at, missed, opening, events, lost }) {
    const { history, act } = this;
    if (this.leads) {
      if (to || since === undefined) return;
      const known = { missed: history.after(since), opening: act.opening() };
      return this.#post({ to: from, since, at: history.id, ...known });
    }
    if (to ? to !== this.#me : since !== undefined) return;
    if (at !== undefined && !(to && from === this.#leader)) {
      if (missed && since === history.id) events = [{ ...opening, id: since || at }, ...missed];
      else if (history.rewind(at)) events = opening ? [{ ...opening, id: at }] : [];
      else if (!to || since !== history.id) return this.#alone ? this.#ask() : this.#join();
      else {
        clearTimeout(this.#timer);
        if (!this.#alone) act.read((this.#alone = true));
        return;
      }
      this.#alone = false;
      this.#leader = from;
      act.halt();
    }
    if (from !== this.#leader) return;
    this.#expect(lost ? lost.retryIn + FIRST_WORD_TIMEOUT : act.silence());
    if (lost) act.lost(lost);
    if (events) act.take(events);
  }
}

export class Notifications extends EventTarget {
  readyState = 2; // as in EventSource: 0 connecting, 1 open, 2 closed
  #url;
  #options;
  #name;
  #history;
  #user;
  #tabs;
  #life; // from open() to the end
  #attempt; // to read a stream
  #timer = 0;
  #silence = FIRST_WORD_TIMEOUT; // ms without a word that are a loss
  #retry = FIRST_RETRY;
  #failures = 0; // in a row
  #refused = false; // whether the last token was
  #opening; // the event that the stream began with
  #paused = false;
  #source; // EventSource, where there is one
  #types = new Set(["message", OPEN, GAP, ...NOTICES, ...PERSONAL]);
  #any = false; // whether somebody listens to "*"

  constructor(url, options = {}) {
    super();
    this.#url = absolute(url);
    const ticket = options.ticket ?? !globalThis.ReadableStream;
    const share = !ticket && globalThis.navigator?.locks ? options.share : undefined;
    this.#options = { ...options, ticket, share };
    this.#name = `aionotify 1 ${this.#url} ${share ?? ""}`;
    let id = options.lastEventId;
    try {
      id ??= options.storage?.getItem(this.#name);
    } catch {} // forbidden
    this.#history = new History(id ?? "", share === undefined ? 0 : KEPT);
    this.open();
  }

  get lastEventId() {
    return this.#history.id;
  }

  history(query) {
    return history(this.#url, this.#options, query);
  }

  markRead(marks = { upto: this.lastEventId }) {
    return markRead(this.#url, this.#options, marks);
  }

  open() {
    if (this.readyState < 2) return;
    this.#failures = 0;
    this.#refused = this.#paused = false;
    this.#user = undefined;
    const { signal } = (this.#life = new AbortController());
    const on = (target, types, act) => {
      for (const type of types) target?.addEventListener?.(type, act, { signal });
    };
    on(globalThis, ["pagehide"], () => this.#pause());
    on(globalThis.document, ["freeze"], () => this.#pause());
    on(globalThis, ["pageshow"], () => this.#paused && this.#start());
    on(globalThis.document, ["resume"], () => this.#paused && this.#start());
    on(globalThis, ["online"], () => this.#reads && this.#connect());
    on(globalThis, ["offline"], () => this.#reads && this.#lost(failure("the browser is offline")));
    this.#start();
  }

  close() {
    if (this.readyState < 2) this.#end();
  }

  addEventListener(type, ...rest) {
    super.addEventListener(type, ...rest);
    if (type === "*") this.#any = true;
    if (/^(\*|open|error)$/.test(type) || this.#types.has(type)) return;
    this.#types.add(type);
    this.#source?.addEventListener(type, this.#forward);
  }

  async *[Symbol.asyncIterator]() {
    const { signal } = this.#life;
    const queue = [];
    let wake;
    const hear = (event) => {
      queue.push(event);
      wake?.();
    };
    this.addEventListener("*", hear);
    signal.addEventListener("abort", () => wake?.());
    try {
      while (!signal.aborted || queue.length) {
        if (queue.length) yield queue.shift();
        else await new Promise((done) => (wake = done));
      }
    } finally {
      this.removeEventListener("*", hear);
    }
    if (signal.reason.final) throw signal.reason;
  }

  get #reads() {
    return this.readyState < 2 && !this.#paused && (this.#tabs?.reads ?? true);
  }

  #start() {
    this.readyState = 0;
    this.#paused = false;
    if (this.#options.share === undefined) return this.#connect();
    this.#tabs = new Tabs(this.#name, this.#history, {
      read: () => this.#connect(),
      halt: () => this.#halt(),
      take: (events) => this.#admit(events) && this.#take(events),
      lost: (detail) => this.#tell(detail),
      opening: () => this.#opening,
      silence: () => this.#silence,
    });
  }

  #pause() {
    this.#paused = true;
    this.#tabs?.leave();
    this.#tabs = undefined;
    this.#halt();
  }

  #end(error) {
    this.#pause();
    this.readyState = 2;
    this.#life.abort(error);
  }

  #halt() {
    clearTimeout(this.#timer);
    this.#attempt?.abort();
    this.#attempt = this.#source = this.#opening = undefined;
    this.readyState = 0;
  }

  async #connect() {
    this.#halt();
    const attempt = (this.#attempt = new AbortController());
    this.#watch(FIRST_WORD_TIMEOUT);
    try {
      await (this.#options.ticket ? this.#listen(attempt.signal) : this.#read(attempt.signal));
      throw failure("the stream ended");
    } catch (error) {
      if (attempt === this.#attempt) this.#lost(error);
    }
  }

  #watch(ms) {
    const attempt = this.#attempt;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => attempt.abort(failure(`nothing came for ${ms} ms`)), ms);
  }

  async #read(signal) {
    const { status, headers, body } = await this.#fetch(this.#url, "GET", signal);
    const type = headers.get("Content-Type");
    if (!/^text\/event-stream *(;|$)/i.test(type)) {
      throw failure(`the answer is no event stream but ${type}`, status === 204, { status });
    }
    const reader = body.getReader();
    const parser = new Parser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const events = parser.push(value);
      this.#retry = Math.max(parser.retry ?? this.#retry, SHORTEST_RETRY);
      this.#receive(events);
      if (signal.aborted) return;
      this.#watch(this.#silence);
    }
  }

  async #listen(signal) {
    const { ticket, withCredentials } = this.#options;
    const url = new URL(this.#url);
    url.pathname += "/ticket";
    const given =
      typeof ticket === "function"
        ? await ask(ticket, this.#refused, signal)
        : (await (await this.#fetch(url, "POST", signal)).json()).ticket;
    const at = new URL(this.#url);
    at.searchParams.set("ticket", given);
    if (this.lastEventId) at.searchParams.set("last_event_id", this.lastEventId);
    signal.throwIfAborted();
    const source = (this.#source = new EventSource(at, { withCredentials }));
    for (const type of this.#types) source.addEventListener(type, this.#forward);
    await new Promise((_, reject) => {
      source.onopen = () => clearTimeout(this.#timer); // heartbeats are hidden from scripts
      source.onerror = () => reject(failure("the stream was lost"));
      signal.addEventListener("abort", () => {
        source.close();
        reject(signal.reason);
      });
    });
  }

  #forward = ({ type, data, lastEventId }) => {
    this.#receive([{ type, data, id: lastEventId || undefined }]);
  };

  #fetch(url, method, signal) {
    const headers = { Accept: "text/event-stream, application/json" };
    if (this.lastEventId && method === "GET") headers["Last-Event-ID"] = this.lastEventId;
    const init = { method, headers, cache: "no-store", signal };
    return request(url, this.#options, this.#refused, init);
  }

  #lost(error) {
    const { message = String(error), status = 0, retryAfter = 0 } = error ?? {};
    if (status === 401 && this.#options.getToken && !this.#refused) {
      this.#refused = true;
      return this.#connect();
    }
    const final = error?.final ?? false;
    this.#halt();
    const longest = Math.max(this.#retry, LONGEST_BACKOFF);
    const backoff = Math.min(this.#retry * 2 ** this.#failures++, longest);
    // With jitter: all who lost a server come back to it.
    const wait = Math.min(Math.max(backoff, retryAfter), LONGEST_WAIT) * (1 + Math.random() / 2);
    const detail = { status, message, final, retryIn: final ? Infinity : wait };
    if (final) this.#end(error);
    else {
      this.#timer = setTimeout(() => this.#connect(), wait);
      this.#tabs?.tell({ lost: detail });
    }
    this.#tell(detail);
  }

  #tell(detail) {
    if (!detail.final) this.readyState = 0;
    this.dispatchEvent(new CustomEvent("error", { detail }));
  }

  /** Events that this tab has read. */
  #receive(events) {
    if (!this.#admit(events)) return;
    this.#tabs?.tell({ events });
    this.#take(events);
  }

  /** Whether these are our user's: a cookie may be another's by now. */
  #admit(events) {
    const { data } = events.find(({ type }) => type === OPEN) ?? {};
    if (!data) return true;
    const { user_id: user, heartbeat } = JSON.parse(data);
    this.#user ??= user;
    if (heartbeat > 0) this.#silence = Math.max(heartbeat * 2500, 1000);
    if (this.#user === user) return true;
    this.#lost(failure("the stream is another user's", true));
  }

  #take(events) {
    const { signal } = this.#life;
    for (const event of events) {
      if (signal.aborted) return;
      const isNew = this.#history.add(event);
      if (event.type === OPEN) {
        this.#opening = event;
        this.readyState = 1;
        this.#failures = 0;
        this.#refused = false;
        this.dispatchEvent(new Event("open"));
      }
      if (event.type && isNew) this.#dispatch(event);
    }
    const { storage } = this.#options;
    try {
      if (!this.#history.again.length) storage?.setItem(this.#name, this.lastEventId);
    } catch {} // full, or forbidden
  }

  #dispatch({ type, data }) {
    const init = { data, origin: this.#url.origin, lastEventId: this.lastEventId };
    if (type !== "*") this.dispatchEvent(new MessageEvent(type, init));
    if (!this.#any) return;
    const event = new MessageEvent("*", init);
    Object.defineProperty(event, "type", { value: type });
    this.dispatchEvent(event);
  }
}
