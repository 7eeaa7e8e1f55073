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

/** What a `Parser` finds. Without `data` it is no event, and only moves the last event id. */
export type Found = { type: string; data: string; id?: string } | { type?: undefined; data?: undefined; id: string };

/** Parses `text/event-stream` (HTML Standard section 9.2.6). */
export class Parser {
  /** Milliseconds, once the stream has said `retry:`. */
  retry?: number;
  /** What ends in these bytes; throws when an event is longer than 32 Mi characters. */
  push(bytes: Uint8Array): Found[];
}
