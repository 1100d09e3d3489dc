"""The kustomization that makes Secrets of the files of a folder for each service, for deploy/kubernetes."""

from deploy.tls import redis_users
from deploy.tls.identity import IDENTITIES

NAME = "kustomization.yaml"

OPERATOR = "operator"
"""Who is no service, and has no pod."""

_HEAD = """\
# `kubectl apply -k` on this folder makes the Secrets that deploy/kubernetes/components/tls takes, and renews them.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization

generatorOptions:
  # Services take what is renewed under the same name without a restart.
  disableNameSuffixHash: true
  labels: { app.kubernetes.io/part-of: dockercoins }

secretGenerator:
"""


def text(password: str) -> str:
    """The file; `password` is the name of the file that has one."""
    secrets = []
    for name in (identity.name for identity in IDENTITIES if identity.name != OPERATOR):
        # The keys are those of kubernetes.io/tls, with which cert-manager makes Secrets, too.
        files = (f"tls.crt={name}/{name}.pem", f"tls.key={name}/{name}-key.pem", f"ca.crt={name}/ca.pem")
        secrets.append(_secret(f"{name}-tls", "kubernetes.io/tls", *files))
    secrets += [_secret(f"{name}-{password}", "Opaque", f"{name}/{password}") for name in redis_users.USERS]
    secrets.append(_secret("redis-users", "Opaque", "redis/users.acl"))
    return _HEAD + "".join(secrets)


def _secret(name: str, kind: str, *files: str) -> str:
    return f"  - name: {name}\n    type: {kind}\n    files: [{', '.join(files)}]\n"
