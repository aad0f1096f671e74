# ganeti-instance-kit. `make` without arguments lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

DESTDIR ?=
LIB := $(DESTDIR)/usr/lib/ganeti-instance-kit
OS := $(DESTDIR)/usr/share/ganeti/os
ETC := $(DESTDIR)/etc
MAN := $(DESTDIR)/usr/share/man
UNITS := $(DESTDIR)/usr/lib/systemd/system
PACKAGES := node guest installer converter backup importer kit

# Packages that a node needs for the kit, by names that are valid in Debian 12 and 13.
NODE_PACKAGES := python3 python3-sh python3-jinja2 python3-pyudev python3-tqdm python3-guestfs \
  debootstrap mmdebstrap debian-archive-keyring gnupg gpgv locales tzdata zstd tar e2fsprogs xfsprogs btrfs-progs \
  dosfstools mtools fdisk util-linux mount debianutils arch-test python3-distro-info \
  python3-libnbd python3-xxhash python3-seccomp qemu-utils openssh-client libdeflate0 libzstd1 lvm2
# Packages that the tests need as well: Ganeti, QEMU for guests, a kernel for libguestfs.
TEST_PACKAGES := python3-venv python3-pytest python3-pytest-xdist python3-pytest-timeout python3-hypothesis python3-pexpect ganeti socat \
  iproute2 qemu-system-x86 ovmf openssh-server libguestfs-tools nbdkit libnbd-bin fuse3 \
  gdisk ntfs-3g cryptsetup-bin nbd-server libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients \
  linux-image-cloud-amd64 libcap2-bin acl attr dump man-db shellcheck procps make git systemd zsh
# Packages that only the benchmarks need: programs to compare with.
BENCH_PACKAGES := rsync
# Packages that build and check the Debian package.
DEB_PACKAGES := dpkg-dev debhelper dh-python lintian
# The directory of the built package; its old content is removed.
DEB := build/deb
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
PARALLEL := -n $(shell nproc)
# Arguments of pytest for `make test`: paths and options.
T ?= tests/unit

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: node-packages ## Create a bookworm instance on file-backed disks, as Ganeti would (BOOT=1 boots it)
	$(if $(BOOT),tools/apt-need qemu-system-x86)
	demo/run $(if $(BOOT),--boot)

.PHONY: quick
quick: test-packages .venv/installed ## After every change: lint, types, unit tests, a test of each feature
	$(PYTEST) tests/lint tests/unit $(PARALLEL)
	$(PYTEST) tests/system -m quick $(PARALLEL)

.PHONY: check
check: test-packages .venv/installed ## Install the needed packages and run all tests, in parallel
	$(PYTEST) tests/lint tests/unit $(PARALLEL)
	$(PYTEST) tests/system tests/e2e $(PARALLEL) --durations=25

.PHONY: test
test: test-packages .venv/installed ## Some tests: make test T="tests/system/node/devices/test_loop.py -k sectors"
	$(PYTEST) $(T)

.PHONY: lint
lint: .venv/installed ## Check format, lint, types and imports
	$(PYTEST) tests/lint

.PHONY: bench
bench: test-packages ## Compare speed with ganeti-instance-debootstrap, qemu-img, nbdcopy, dd, tar and rsync
	tools/apt-need $(BENCH_PACKAGES)
	bench/run
	bench/convert
	bench/backup
	bench/import

.PHONY: generate
generate: ## Write the files that are made from the settings and from the verbs of instance-kit
	/usr/bin/python3 -m installer.settings.generate
	/usr/bin/python3 -m kit.completion

.PHONY: picture
picture: test-packages ## Record the picture of the README on a fresh Ganeti node
	tools/isolated.py tools/record.py

.PHONY: install
install: ## Install below DESTDIR; existing configuration files stay
	install -d $(LIB) $(OS) $(DESTDIR)/usr/sbin $(ETC)/default $(ETC)/ganeti/instance-debootstrap/variants \
	  $(ETC)/ganeti/instance-debootstrap/hooks $(MAN)/man7 $(MAN)/man8
	for package in $(PACKAGES); do \
	  find $$package -name '*.py' -o -name '*.j2' | while read -r file; do \
	    install -D -m 644 "$$file" "$(LIB)/$$file"; done; done
	/usr/bin/python3 -m compileall -q $(LIB)
	chmod 755 $(LIB)/converter/qcow2raw.py $(LIB)/kit/instance_kit.py
	ln -sfn ../lib/ganeti-instance-kit/converter/qcow2raw.py $(DESTDIR)/usr/sbin/qcow2raw
	ln -sfn ../lib/ganeti-instance-kit/kit/instance_kit.py $(DESTDIR)/usr/sbin/instance-kit
	install -d $(LIB)/os-definition
	install -m 755 -t $(LIB)/os-definition $(addprefix os-definition/,create rename verify import export)
	install -m 644 -t $(LIB)/os-definition \
	  $(addprefix os-definition/,common.sh ganeti_api_version parameters.list)
	ln -sfn /etc/ganeti/instance-debootstrap/variants.list $(LIB)/os-definition/variants.list
	[ ! -L $(OS)/debootstrap ] || rm $(OS)/debootstrap
	install -d $(OS)/debootstrap
	for file in $(LIB)/os-definition/*; do \
	  ln -sfnT "../../../../lib/ganeti-instance-kit/os-definition/$${file##*/}" \
	    "$(OS)/debootstrap/$${file##*/}"; done
	for file in variants.list $$(cd os-definition && echo variants/*.conf); do \
	  [ -e $(ETC)/ganeti/instance-debootstrap/$$file ] || \
	  install -m 644 os-definition/$$file $(ETC)/ganeti/instance-debootstrap/$$file; done
	[ -e $(ETC)/default/ganeti-instance-debootstrap ] || \
	  install -m 644 os-definition/defaults $(ETC)/default/ganeti-instance-debootstrap
	install -m 644 -t $(MAN)/man7 man/*.7
	install -m 644 -t $(MAN)/man8 man/*.8
	install -D -m 644 -t $(UNITS) systemd/*
	install -D -m 644 -t $(DESTDIR)/usr/share/bash-completion/completions completion/instance-kit
	install -D -m 644 -t $(DESTDIR)/usr/share/zsh/vendor-completions completion/_instance-kit

.PHONY: deb
deb: deb-packages ## Build the Debian package in build/deb
	rm -rf $(DEB)
	install -d $(DEB)/ganeti-instance-kit
	tar -c --exclude-vcs --exclude=./build --exclude=./.venv --exclude='./.*_cache' \
	  --exclude=./.hypothesis --exclude=__pycache__ . | tar -x -C $(DEB)/ganeti-instance-kit
	cd $(DEB)/ganeti-instance-kit && dpkg-buildpackage --no-sign --no-check-builddeps
	rm -r $(DEB)/ganeti-instance-kit

# For tests/e2e/node_tree.py, which installs them on a node with another release.
.PHONY: list-packages
list-packages:
	@echo $(NODE_PACKAGES) $(TEST_PACKAGES) $(DEB_PACKAGES)

.PHONY: node-packages
node-packages:
	tools/apt-need $(NODE_PACKAGES)

.PHONY: test-packages
test-packages:
	tools/apt-need $(NODE_PACKAGES) $(TEST_PACKAGES) $(DEB_PACKAGES)

.PHONY: deb-packages
deb-packages:
	tools/apt-need $(DEB_PACKAGES)

# ruff, mypy and import-linter: Debian does not package them, or only other versions.
.venv/installed: requirements-dev.txt
	/usr/bin/python3 -m venv --system-site-packages .venv
	.venv/bin/pip install --quiet --requirement requirements-dev.txt
	touch $@
