/** How the server learns whose notifications are wanted: one of these, or none on a page of the server's own site. */
export type Credentials =
  | {
      /** The bearer token. It is for pages that live no longer than it does. */
      token: string;
    }
  | {
      /**
       * Gives the bearer token, or a promise of it; asked at each connect. `refused` is true when the
       * one before was answered with 401: give another one, not one that was kept. It has 30 seconds;
       * what it throws, or rejects with, is an error like any other, and it is asked again.
       */
      getToken: (refused: boolean) => string | Promise<string>;
    }
  | {
      /** The cookie is the token, also across origins. No `Authorization` is sent. */
      withCredentials: true;
    }
  | {
      /** Nothing: the cookie is the token if the server goes by one and is of this origin. */
      token?: undefined;
      getToken?: undefined;
      withCredentials?: false;
    };

export type Options = Credentials & {
  /**
   * Read with `EventSource` and a ticket in the address, where `fetch` cannot stream; so by default
   * where there is no `ReadableStream`. `true` asks for tickets with the credentials; a function gives
   * one that the application's own server asked for. An EventSource hears only types that there are
   * listeners for, and hides heartbeats, `retry:` and the status; `share` is off.
   */
  ticket?: boolean | ((refused: boolean) => string | Promise<string>);
  /** Where to go on: the `lastEventId` of an earlier page. `"0"` asks for all that is kept. */
  lastEventId?: string;
  /** Where to keep the last id, `sessionStorage` as a rule, so that a reload misses nothing. */
  storage?: Pick<Storage, "getItem" | "setItem">;
  /**
   * One stream for all tabs that have the same URL and the same `share`, and so the same user: give
   * the user's id. Off where there are no Web Locks.
   */
  share?: string | number;
};

/** Of an `error` event. */
export interface Lost {
  /** The HTTP status, or 0 when there was none. */
  status: number;
  message: string;
  /** True when only `open()` tries again: the token was refused, or the request was wrong. */
  final: boolean;
  /** Milliseconds until the next attempt; `Infinity` when `final`. */
  retryIn: number;
}

/**
 * The notifications of one user. Each arrives as a `MessageEvent` of its own type, `message` if it has
 * none, and also as `"*"`. The async iterator gives all that arrive while it runs, until `close()`;
 * it throws what is final.
 */
export class Notifications extends EventTarget implements AsyncIterable<MessageEvent<string>> {
  /** Connects. `url` is that of `/notify`, relative to the page. */
  constructor(url: string | URL, options?: Options);

  /** As in EventSource: 0 connecting, 1 open, 2 closed. */
  readonly readyState: 0 | 1 | 2;
  /** Of the last event. */
  readonly lastEventId: string;

  /** As the function `history`. */
  history(query?: Query): Promise<HistoryPage>;
  /** As the function `markRead`; by default all that this page has got. */
  markRead(marks?: { upto?: string; ids?: string[] }): Promise<{ unread: number }>;
  /** Connect after `close()` or what was final, and go on after `lastEventId`. */
  open(): void;
  /** Disconnect, and stay so. */
  close(): void;

  addEventListener(
    type: "open",
    listener: ((event: Event) => void) | { handleEvent(event: Event): void } | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: "error",
    listener: ((event: CustomEvent<Lost>) => void) | { handleEvent(event: CustomEvent<Lost>): void } | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: ((event: MessageEvent<string>) => void) | { handleEvent(event: MessageEvent<string>): void } | null,
    options?: boolean | AddEventListenerOptions,
  ): void;

  [Symbol.asyncIterator](): AsyncGenerator<MessageEvent<string>, void, undefined>;
}

/** What is asked of the list. */
export interface Query {
  /** Which come first; the newest, by default. */
  order?: "newest" | "oldest";
  /** The most events, 1 to 100; 50 by default. */
  limit?: number;
  /** An event id, or a cursor: before that are the events that a client at it has had. */
  before?: string;
  /** An event id, or a cursor: after that are the events that a client at it has not had. */
  after?: string;
  /** Only events of this type, or these types. */
  event?: string | string[];
}

/** An event in the list. */
export interface Listed {
  event_id: string;
  /** In unix seconds. */
  time: number;
  /** Whether the user has read it, on whichever device. */
  read: boolean;
  /** Its type, `message` if it has none. */
  event: string;
  /** The event, as a stream has it. */
  data: { recipient_id: string | number; [member: string]: unknown };
}

/** A page of the list. */
export interface HistoryPage {
  events: Listed[];
  /** How many events are not read, in the whole list; up to 1,000 of each inbox. */
  unread: number;
  /** For `before`, or for `after` with the oldest first, to get the next page; null on the last one. */
  next: string | null;
  /** The `lastEventId` of a stream that goes on after the list; null on a page `before` something. */
  cursor: string | null;
}

/** What is read: the data of `aionotify.read`, which is what was marked just now. */
export interface Marks {
  /** In each inbox that is named, all events up to that one are. */
  upto: string[];
  /** And these are. */
  ids: string[];
}

/**
 * What the user was told. `url` is that of `/notify`. It has 30 seconds; a refusal is an error with
 * `status`, `message` and `final`, as of `error` events.
 */
export function history(url: string | URL, options?: Options, query?: Query): Promise<HistoryPage>;
/** Mark events as read on all of the user's devices: all `upto` an event or a cursor, or those of `ids`. */
export function markRead(
  url: string | URL,
  options: Options | undefined,
  marks: { upto?: string; ids?: string[] },
): Promise<{ unread: number }>;
/** The id of the event that came with a `lastEventId`, as producers and the list have it. */
export function eventId(lastEventId: string): string;
/** Whether marks say that an event is read. */
export function isRead(marks: Marks, eventId: string): boolean;

/** What a `Parser` finds. Without `data` it is no event, and only moves the last event id. */
export type Found = { type: string; data: string; id?: string } | { type?: undefined; data?: undefined; id: string };

/** Parses `text/event-stream` (HTML Standard section 9.2.6). */
export class Parser {
  /** Milliseconds, once the stream has said `retry:`. */
  retry?: number;
  /** What ends in these bytes; throws when an event is longer than 32 Mi characters. */
  push(bytes: Uint8Array): Found[];
}
