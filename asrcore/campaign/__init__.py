"""The loop that decides: a campaign's goal and rounds in the ledger, what went wrong in a round, the learning curve, and the next step.

`state` what is kept · `observe` ledger -> evidence · `diagnosis`, `finding` where the errors are · `effects` what levers brought · `changes` what a round changed
· `mining` what to collect · `curve` what more data would bring · `rules` the table
· `decide` evidence -> decision · `blind` which sets were used · `history`, `table` the campaign for readers · `gate` the same verdicts for CI.
"""

from asrcore.campaign.decide import next_step, start
from asrcore.campaign.state import Budget, Campaign, Decision, Round

__all__ = ["Budget", "Campaign", "Decision", "Round", "next_step", "start"]
