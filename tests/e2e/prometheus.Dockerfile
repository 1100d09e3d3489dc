# Replaces prom/prometheus on machines that can't pull it: the same program, user and folder, from Debian.
FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends prometheus \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=65534 --group=65534 /prometheus
ENTRYPOINT ["prometheus"]
