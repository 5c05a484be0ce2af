"""Decides: pure rules, state in and decision out. No clock, no socket, no await."""
