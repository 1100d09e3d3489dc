"""`make bench`: speed beside baselines and beside an earlier checkout, in one run, since one machine's figures vary."""
