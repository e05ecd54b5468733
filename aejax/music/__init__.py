"""Tunes: notes and bars, ABC notation, tokens, MIDI files, and which tunes are the same tune."""
