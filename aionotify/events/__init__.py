"""What travels: events, frames, and positions. Pure: bytes and values in, bytes and values out."""
