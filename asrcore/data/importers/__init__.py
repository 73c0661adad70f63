"""Readers of corpora as people have them: one module a format, all of them yielding the rows of `rows.py`; `formats.py` is the table.

A reader decides nothing about quality. It says where a row stands, which audio and text belong together, and which lines are no row and why;
`asrcore.data.importing` checks the audio and writes the manifest. To add a format: a module with one `read(request)`, a line in `formats.py`,
a rule in `detect.py`.
"""
