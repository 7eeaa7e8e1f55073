"""The only room that knows Redis: connecting, listening, inboxes, publishing."""
