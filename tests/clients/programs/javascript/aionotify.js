import { getToken, lastId, show, signIn, url } from "./contract.js";

const { Notifications } = await import(new URL("/notify/client.js", location));

const notifications = new Notifications(url, { getToken, lastEventId: lastId });
notifications.addEventListener("*", ({ type, data }) => show(type, data));
notifications.addEventListener("error", ({ detail }) => {
  if (detail.final) signIn();
});
