# Batchery itself in a container. Jobs run beside it, in containers of the host's Docker or Podman: give it the socket.
#   docker build -t batchery .
#   docker run --network host -v /var/run/docker.sock:/var/run/docker.sock -v /srv/batchery:/srv/batchery \
#     batchery serve --engine docker --data /srv/batchery
# The data directory has the same path inside and outside, since mounts of jobs are paths of the host.
FROM python:3.11-slim
COPY . /opt/source
RUN python -m venv /opt/batchery && /opt/batchery/bin/pip install --no-cache-dir /opt/source && rm -rf /opt/source
ENV PATH=/opt/batchery/bin:$PATH
EXPOSE 8642
STOPSIGNAL SIGTERM
ENTRYPOINT ["batchery"]
CMD ["serve", "--engine", "docker", "--data", "/srv/batchery"]
