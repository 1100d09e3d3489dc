"""Redis as worker and webui reach it: who they are there, which server is the one, what its keys are called."""
