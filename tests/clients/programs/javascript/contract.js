// What an application has, for the programs beside this file: they are run as
// `node PROGRAM URL TOKEN_FILE LAST_ID`, and say what they hear in lines of JSON. In a browser, the
// page has it all.

let heard, contract;
if (globalThis.document === undefined) {
  const { readFile } = await import("node:fs/promises");
  const [url, tokenFile, lastId] = process.argv.slice(2);
  contract = { url, lastId, getToken: async () => (await readFile(tokenFile, "utf-8")).trim() };
  heard = (line, ended) => process.stdout.write(line, () => ended && process.exit());
} else {
  contract = globalThis.contract;
  heard = (line) => contract.heard(line);
}

// Where the stream is, and where to begin: after this event, or "".
export const { url, lastId } = contract;

// A token that is valid now.
export const { getToken } = contract;

// EventSource hears only types that it is told: these are the application's, and aionotify's own.
export const types = [
  "message",
  "order.shipped",
  ...["open", "gap", "expired", "drain", "position"].map((word) => `aionotify.${word}`),
];

export const show = (type, data) => heard(`${JSON.stringify({ type, data })}\n`);

// The token is refused for good.
export const signIn = () => heard(`${JSON.stringify({ refused: true })}\n`, true);
