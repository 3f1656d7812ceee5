"""Translate: a protocol's request into ours, our response into the protocol's. No policy."""
