"""How Redis is reached and talked to; nothing of what is said."""
