import sys

# With it, the JSON schemas' library compiles a grammar of IRIs, for 1.5 s of CPU; no schema of Kubernetes has an IRI.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
