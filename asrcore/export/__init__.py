"""What a model card has to say about a checkpoint, read from the ledger. The conversions and their gates are in `asrcore.model.export*`."""

from asrcore.export.facts import card_facts, provenance

__all__ = ["card_facts", "provenance"]
