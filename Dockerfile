# Batchery itself in a container; its jobs run beside it, in containers of the host's Docker or Podman:
#   docker build -t batchery .
#   docker run --network host --pid host --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup:ro \
#     -v /var/run/docker.sock:/var/run/docker.sock -v /srv/batchery:/srv/batchery batchery
# compose.yaml says the same, and docs/containers.md why. What pip reads can be given: --build-arg PIP_INDEX_URL=...
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_CERT
COPY . /opt/source
RUN python3 -m venv /opt/batchery && /opt/batchery/bin/pip install --no-cache-dir '/opt/source[aws]'

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/batchery /opt/batchery
ENV PATH=/opt/batchery/bin:$PATH BATCHERY_ENGINE=docker BATCHERY_DATA=/srv/batchery
EXPOSE 8642
HEALTHCHECK --interval=10s --start-period=30s CMD ["python3", "-c", "import json, os, urllib.request as web; \
  web.urlopen(json.load(open(os.environ['BATCHERY_DATA'] + '/server.json'))['url'] + '/health', timeout=5)"]
ENTRYPOINT ["batchery"]
CMD ["serve"]
