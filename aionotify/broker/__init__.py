"""The only room that knows Redis: connecting, subscribing, inboxes, publishing."""
