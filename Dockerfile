# Image of the daemon. `--target demo` adds `presenced demo`.
#
# Behind a package mirror: --secret id=pip.conf,src=FILE passes a pip configuration that does not become
# part of the image.
# By digest, so that a build of a commit stays what it was; the tag says what it is to people.
ARG PYTHON_IMAGE=python:3.13-slim@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# pip stays in a virtual environment of its own, so that the image does not contain it.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/presenced
COPY requirements.lock requirements.build.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    tools/bin/pip install --require-hashes -r requirements.build.lock && \
    tools/bin/pip --python /opt/presenced/bin/python3 install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY daemon daemon
RUN tools/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir wheel . && \
    tools/bin/pip --python /opt/presenced/bin/python3 install --no-deps --no-index wheel/*.whl
# Parts of libraries that presenced does not import: 5 MB.
RUN cd /opt/presenced/lib/python3*/site-packages && rm -r awsiot confluent_kafka/schema_registry pydantic/v1
# Unchecked bytecode is identical in every build.
RUN python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/presenced/lib
# A new volume takes the mode of its mount point, so that any user can write to it.
RUN install --directory --mode=0777 state/presenced

FROM build AS build-demo
COPY requirements.demo.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    tools/bin/pip --python /opt/presenced/bin/python3 install --require-hashes \
        -r requirements.demo.lock && \
    python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/presenced/lib

FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="presenced" \
      org.opencontainers.image.description="Which devices of an AWS IoT Core fleet are online, as Prometheus metrics" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/presenced/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can verify that it is not root. Any other user works as well.
USER 65532:65532
EXPOSE 9883
STOPSIGNAL SIGTERM
# Queries the address of the daemon's own arguments, environment and configuration.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 \
    CMD ["python3", "-m", "presenced.commands.healthcheck"]
ENTRYPOINT ["presenced"]

FROM runtime AS demo
COPY --from=build-demo /opt/presenced /opt/presenced
CMD ["demo", "--listen", ":9883"]

FROM runtime AS presenced
COPY --from=build /opt/presenced /opt/presenced
COPY --from=build /build/state/ /var/lib/
# The state file. Without a named volume the engine creates one for the container, which survives its
# restarts and also works with a read-only root.
ENV STATE_DIRECTORY=/var/lib/presenced
VOLUME /var/lib/presenced
CMD ["run"]
