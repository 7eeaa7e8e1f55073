"""What aionotify is measured beside: small servers that push a user's events to their streams.

``python -m scripts.bench.rivals.NAME PORT REDIS_PORT`` runs one. Each serves ``GET /notify?u=USER``
and hears events from Redis, on the channel ``user:USER``, or on ``user:*`` those for everyone. None
keeps anything, resumes anything, or asks who somebody is.
"""
