// Publishes as publish() of server.js does, where the nodes have `publish: {stream: true}`: one command
// to Redis, which says nothing of whether the event is valid.

import { createClient } from "redis";

const redis = await createClient({ url: "redis://127.0.0.1:6379/0" })
  .on("error", (error) => console.error(error.message)) // it connects again
  .connect();

export const publish = (event) =>
  redis.xAdd("aionotify:publish", "*", { event: JSON.stringify(event) });

export const close = () => redis.close();
