# The image of the daemon. `--target demo` is the same with `presenced demo` in it.
#
# Behind a package mirror: --secret id=pip.conf,src=FILE, a pip configuration that the build uses and
# the image never holds.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# pip stays in a virtual environment of its own, and so out of the one that the image gets.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/presenced
COPY requirements.lock requirements.build.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    tools/bin/pip install --require-hashes -r requirements.build.lock && \
    tools/bin/pip --python /opt/presenced/bin/python3 install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY daemon daemon
RUN tools/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir wheel . && \
    tools/bin/pip --python /opt/presenced/bin/python3 install --no-deps --no-index wheel/*.whl
# Bytecode that never looks at its source's date is the same in every build.
RUN python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/presenced/lib
# A new volume takes on the mode of what it is mounted on: any user may write to it.
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
# A number, so that Kubernetes can see that it is not root. Any other user works as well.
USER 65532:65532
EXPOSE 9883
STOPSIGNAL SIGTERM
# Asks where the daemon's own arguments, environment and configuration say that it listens.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 \
    CMD ["python3", "-m", "presenced.commands.healthcheck"]
ENTRYPOINT ["presenced"]

FROM runtime AS demo
COPY --from=build-demo /opt/presenced /opt/presenced
CMD ["demo", "--listen", ":9883"]

FROM runtime AS presenced
COPY --from=build /opt/presenced /opt/presenced
COPY --from=build /build/state/ /var/lib/
# The daemon keeps its state here. Without a volume of a name the engine makes one for the container,
# which outlives its restarts, so that there is a place also where the root is read-only.
ENV STATE_DIRECTORY=/var/lib/presenced
VOLUME /var/lib/presenced
CMD ["run"]
