// A shop with express-session.
//
// SECRET=$(openssl rand -hex 32) PUBLISH_KEY=… node server.js

import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import express from "express";
import session from "express-session";

const AIONOTIFY = "http://127.0.0.1:8001";
const { SECRET, PUBLISH_KEY } = process.env;
const PASSWORDS = new Map([["alice", "wonderland"]]); // yours are hashed, and in the database

const database = new DatabaseSync("orders.db");
database.exec("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, buyer TEXT, shipped INTEGER)");

const store = new session.MemoryStore(); // yours survives a restart: Redis, a database
const cookie = { httpOnly: true, sameSite: "lax", secure: "auto" };
const app = express();
app.set("trust proxy", "loopback"); // nginx says whether it is https
app.use(express.urlencoded());
app.use(
  session({
    store,
    cookie,
    secret: SECRET,
    resave: false,
    saveUninitialized: false,
  }),
);

// aionotify asks whose a token is. connect.sid is percent-encoded and signed, which no token is; so
// /login sets a cookie of its own with the session's id.
app.get("/api/v1/is_user_auth/", (request, response) => {
  const id = (request.get("Authorization") ?? "").replace(/^Bearer /, "");
  store.get(id, (error, found) => {
    if (error) response.status(500).end();
    else if (found?.user) response.json({ user_id: found.user });
    else response.status(401).json({ detail: "no such session" });
  });
});

app.post("/login", (request, response, next) => {
  const { user, password } = request.body;
  if (PASSWORDS.get(user) !== password) return response.status(401).send("wrong name or password");
  request.session.regenerate((error) => {
    if (error) return next(error);
    request.session.user = user;
    response.cookie("notifications", request.sessionID, { ...cookie, secure: request.secure });
    response.redirect("/");
  });
});

app.post("/logout", (request, response, next) => {
  request.session.destroy((error) => {
    if (error) return next(error);
    response.clearCookie("notifications");
    response.redirect("/");
  });
});

app.post("/orders", async (request, response) => {
  const buyer = request.session.user;
  if (!buyer) return response.status(401).end();
  const { lastInsertRowid: order } = transaction(() =>
    database.prepare("INSERT INTO orders (buyer, shipped) VALUES (?, 1)").run(buyer),
  );
  // Here it has committed.
  await publish({
    recipient_id: buyer,
    event: "order.shipped",
    data: { order },
    id: `order-${order}-shipped`,
  });
  response.status(204).end();
});

function transaction(act) {
  database.exec("BEGIN");
  try {
    const result = act();
    database.exec("COMMIT");
    return result;
  } catch (error) {
    database.exec("ROLLBACK");
    throw error;
  }
}

// Stores an event. It has an id, so it may be sent again and is delivered once.
async function publish(event, attempts = 5) {
  for (let attempt = 1; ; attempt++) {
    try {
      const answer = await fetch(`${AIONOTIFY}/publish`, {
        method: "POST",
        headers: { Authorization: `Bearer ${PUBLISH_KEY}` },
        body: JSON.stringify(event),
        signal: AbortSignal.timeout(5000),
      });
      if (answer.ok) return;
      const error = new Error(`/publish answered ${answer.status}: ${await answer.text()}`);
      if (answer.status < 500) throw Object.assign(error, { final: true });
      throw error;
    } catch (error) {
      if (error.final || attempt === attempts) throw error;
      await sleep(200 * 2 ** attempt);
    }
  }
}

app.get("/", (request, response) => {
  response.sendFile(request.session.user ? "orders.html" : "login.html", { root: import.meta.dirname });
});

app.get("/me", (request, response) => response.json({ user: request.session.user }));

app.listen(8000, "127.0.0.1");
