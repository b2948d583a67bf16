# What people and CI do with this tree. `make help` lists it.
#
# Nothing here repeats work: cargo builds only what changed, and a deploy of the same bytes changes nothing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# rustup's folder comes last: it is for those who installed it in this very shell.
export PATH := $(PATH):$(HOME)/.cargo/bin

PREFIX ?= /usr/local
MICRO := target/release/micro
# The one folder for everything that is built for WebAssembly; the tests and micro build use it as well.
GUESTS := target/guests
WASM := toolchain=$$(scripts/wasm-target); PATH="$$toolchain:$$PATH" cargo build --release --locked \
	--target wasm32-wasip2 --target-dir $(GUESTS)
PHASE := @scripts/phase
# Each a workspace of its own, wherever its folder lies.
EXAMPLES := $(wildcard examples/*/*/Cargo.toml)

# Sources in workspaces of their own, whose formatting cargo fmt would follow into this one.
WASM_SOURCES = $$(find examples functions tests/guests bench/wasi-http bench/wasi-http-03 -name target -prune -o -name '*.rs' -print)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: functions build ## Start a host with the sample functions on 127.0.0.1:8080, make a first call, stay until ctrl-C
	@MICRO=$(MICRO) scripts/run

.PHONY: build
build: setup ## Build the program: target/release/micro
	cargo build --release --locked -p micro

.PHONY: test
test: ## Check and test everything, as CI does
	@scripts/phase --start
	$(PHASE) setup       scripts/setup --test
	$(PHASE) format      $(MAKE) fmt-check
	$(PHASE) lint        $(MAKE) lint
	$(PHASE) docs        $(MAKE) docs
	$(PHASE) guests      $(MAKE) guests
	$(PHASE) lint-wasm   $(MAKE) lint-wasm
	$(PHASE) tests       cargo test --workspace --locked --no-fail-fast
	$(PHASE) fuzz        $(MAKE) fuzz FUZZ_SECONDS=10
	$(PHASE) functions   $(MAKE) test-functions
	$(PHASE) examples    $(MAKE) walk MICRO=target/debug/micro-under-test
	$(PHASE) deny        $(MAKE) deny
	@scripts/phase --summary

.PHONY: setup
setup: ## Make sure that compilers for C and C++ and a Rust that is new enough are here; installs them on Debian as root
	@scripts/setup

.PHONY: fmt
fmt: ## Format all Rust code
	cargo fmt --all
	rustfmt --edition 2024 $(WASM_SOURCES)

.PHONY: fmt-check
fmt-check:
	cargo fmt --all --check
	rustfmt --edition 2024 --check $(WASM_SOURCES)

.PHONY: lint
lint: ## Run clippy over the host; any warning fails
	cargo clippy --workspace --all-targets --locked -- -D warnings

# Functions and examples natively, because that covers their unit tests; guests for the target that they are written for,
# which not every toolchain that builds them has clippy for.
.PHONY: lint-wasm
lint-wasm: ## Run clippy over functions, examples and guests; any warning fails
	@for manifest in functions/Cargo.toml $(EXAMPLES); do \
		cargo clippy --locked --all-targets --target-dir $(GUESTS) --manifest-path $$manifest -- -D warnings; \
	done
	@toolchain=$$(scripts/wasm-target); export PATH="$$toolchain:$$PATH"; \
	if ! cargo clippy --version >/dev/null 2>&1; then echo "skipped: no clippy beside $$toolchain/cargo"; exit 0; fi; \
	for manifest in tests/guests bench/wasi-http bench/wasi-http-03; do \
		cargo clippy --release --locked --target wasm32-wasip2 --target-dir $(GUESTS) \
			--manifest-path $$manifest/Cargo.toml -- -D warnings; \
	done

.PHONY: docs
docs: ## Build the documentation of the crates, private items too: target/doc
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

.PHONY: guests
guests: functions ## Build the guests of the tests
	$(WASM) --manifest-path tests/guests/Cargo.toml

.PHONY: functions
functions: setup ## Build the functions that are shipped
	$(WASM) --manifest-path functions/Cargo.toml

.PHONY: test-functions
test-functions: ## Run the unit tests of functions and examples, natively
	@for manifest in functions/Cargo.toml $(EXAMPLES); do \
		cargo test --locked --target-dir $(GUESTS) --manifest-path $$manifest; \
	done

.PHONY: examples
examples: functions build ## Walk through the examples
	@$(MAKE) walk

.PHONY: walk
walk:
	@for run in examples/*/run; do MICRO=$(MICRO) $$run; done

.PHONY: bench
bench: setup guests ## Measure the parts and the whole; the machine should have nothing else to do
	cargo build --release --locked -p micro -p micro-engine -p micro-bench --bins --bench parts --bench route
	$(WASM) --manifest-path bench/wasi-http/Cargo.toml
	$(WASM) --manifest-path bench/wasi-http-03/Cargo.toml
	@MICRO=$(MICRO) MICRO_GUESTS=$(CURDIR)/$(GUESTS)/wasm32-wasip2/release scripts/bench

# The host is built unless MICRO names one.
N ?= 10000
.PHONY: density
density: setup ## Measure a host with N=10000 functions: its start, its memory, first calls
	cargo build --release --locked $(if $(filter command line environment,$(origin MICRO)),,-p micro) -p micro-bench --bins
	@N=$(N) MICRO=$(MICRO) scripts/density

.PHONY: messages
messages: setup guests ## Lose none of N=1000000 messages while the host is killed, and measure how fast they come
	cargo build --release --locked $(if $(filter command line environment,$(origin MICRO)),,-p micro) -p micro-bench --bins
	@N=$(N) MICRO=$(MICRO) scripts/messages

# Seconds for each target.
FUZZ_SECONDS ?= 20

.PHONY: fuzz
fuzz: ## Feed every fuzz target for FUZZ_SECONDS, from the corpora that are kept
	@FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz

.PHONY: deny
deny: ## Check licences, sources and known vulnerabilities of all dependencies; gets cargo-deny if it is not here
	@scripts/deny

.PHONY: install
install: build ## Install the program in PREFIX/bin, /usr/local/bin by default
	install -D -m 755 $(MICRO) $(DESTDIR)$(PREFIX)/bin/micro

.PHONY: clean
clean: ## Remove everything that was built, and the sample host's data
	rm -rf target functions/target tests/guests/target bench/wasi-http/target bench/wasi-http-03/target
