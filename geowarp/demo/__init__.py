"""The demonstration behind ``python -m geowarp demo``: BDH on Stiefel beside the same model in flat space."""
