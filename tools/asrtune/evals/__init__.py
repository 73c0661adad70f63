"""Evals of the skill: does an agent find it, and does it do the right things with it?

    cases.py      what is asked and expected, as data in skill/evals/
    worlds.py     the folder that a scenario is played in
    play.py       any agent command in such a folder, with every tool call recorded
    score.py      the recorded calls, the ledger and the answer against what was expected
    scripted.py   an agent that plays a script: it keeps the scenarios honest and tests the runner
    triggers.py   is the skill used where it should be, and left alone where not?

`python -m asrtune.evals --help` runs them. Numbers come only from runs of real agents; none ship here.
"""
