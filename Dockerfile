# One image for every role: `serve --role ingress`, `--role worker`, or `--role all` in one process.
# The build needs no BuildKit features; it runs as well with `docker build` as with `buildah bud`.

# By digest, so that a build next year starts from the same files. `make image-test` builds on a stand-in.
ARG BASE=python:3.12.14-slim-bookworm@sha256:782412e85d0f0984994c290652577d4018aff08145c85b262bb63dc0c7522254

FROM ${BASE} AS builder

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

# Without pip inside: what cannot install packages cannot be made to install any.
RUN python -m venv --without-pip /opt/fanout

WORKDIR /src

# `otel` for an image that can send spans (docs/tracing.md), `entra` for one that calls by identity (docs/entra.md),
# "otel entra" for one that can do both.
ARG EXTRAS=""

# The dependencies first: this layer is built anew only when the lock changes. Every file has to match its hash.
COPY requirements.txt requirements-otel.txt requirements-entra.txt ./
RUN set -- \
    && for extra in ${EXTRAS}; do set -- "$@" -r "requirements-${extra}.txt"; done \
    && pip --python /opt/fanout/bin/python install --require-hashes -r requirements.txt "$@"

COPY pyproject.toml README.md LICENSE ./
COPY fanout ./fanout
COPY workers ./workers
COPY service ./service
COPY emulator ./emulator
RUN pip --python /opt/fanout/bin/python install --no-deps .


FROM ${BASE}

ARG VERSION=0.2.0
ARG REVISION=unknown

LABEL org.opencontainers.image.title="signalr-fanout" \
      org.opencontainers.image.description="Durable, ordered fan-out of SignalR messages to Azure SignalR Service." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Compiled modules come with the image, so nothing is written at run time: the root file system may be read-only.
ENV PATH="/opt/fanout/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    PYTHONUNBUFFERED=1

# Nothing installs packages here either: the base's own pip goes too.
RUN groupadd --gid 10001 fanout \
    && useradd --no-log-init --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fanout \
    && rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip /usr/local/lib/python3*/site-packages/pip-* \
        /usr/local/lib/python3*/ensurepip

COPY --from=builder /opt/fanout /opt/fanout

# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /opt/fanout

EXPOSE 8080
STOPSIGNAL SIGTERM

# http.client, because urllib would send this through a proxy that the environment names.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=4 \
    CMD ["python", "-I", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('FANOUT_ADMIN_PORT') or os.environ.get('FANOUT_PORT') or 8080), timeout=4); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["fanout"]
CMD ["serve", "--role", "all", "--host", "0.0.0.0"]
