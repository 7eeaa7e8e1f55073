"""Measures what a node costs, beside what it would cost to do without one.

Three processes besides the one that is asked: a server that holds a node (the one that is
measured), a load generator that holds the clients, and a Redis. ``docs/performance.rst`` tells what
the figures mean.
"""
