"""Writes phrases: MIDI files, audio, pictures and the HTML of a report."""
