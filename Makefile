# Holdfast: `make` alone lists the targets.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
VENV := $(TARGET)/venv
MODULES := $(TARGET)/node
CLIENT_PACKAGES := $(addprefix tests/e2e/,requirements.txt package.json package-lock.json)
CLIENTS ?= 127.0.0.1:7001
INTERNAL ?= 127.0.0.1:7008
FUZZ_SECONDS ?= 1800
LEAK_CONNECTIONS ?= 1000000
SOAK_SECONDS ?= 600
CONNECTIONS ?= 1000000
REPORTS ?= $(TARGET)/reports
FUZZ_TARGETS ?= config connection credentials deflate deliver head proxy sse websocket

# Tests wait more than they compute: for deadlines, for brokers, for clients that are to be late.
export RUST_TEST_THREADS ?= 4

SIM_RUNS ?= 1000
SIM_STEPS ?= 20000
FLEET_STEPS ?= 1000

.PHONY: help run test autobahn check bench bench-cluster bench-kafka million herd leak soak sim fuzz

help:
	@echo 'make run       build and start a node; prints what to try'
	@echo 'make test      run every test; installs what they need'
	@echo 'make autobahn  every case of the WebSocket test suite (many minutes)'
	@echo 'make check     formatting, lints, documentation, house rules, licences'
	@echo 'make bench     measure'
	@echo 'make bench-cluster  what nodes, Redis and the way between nodes cost (three minutes)'
	@echo 'make bench-kafka    what messages from Kafka to 10,000 clients cost, and how long they are under way (seven minutes)'
	@echo 'make million   CONNECTIONS=$(CONNECTIONS) on this machine: a fleet of nodes, Redis, the load generator; a page with plots'
	@echo 'make herd      a small real fleet at compressed time, and its simulation, on one plot (five minutes)'
	@echo 'make leak      LEAK_CONNECTIONS=$(LEAK_CONNECTIONS) short connections; exit 1 if anything is left behind'
	@echo 'make soak      mixed load for SOAK_SECONDS=$(SOAK_SECONDS); exit 1 if a message is lost or anything grows'
	@echo 'make sim       simulate SIM_RUNS=$(SIM_RUNS) nodes with faults, and as many fleets; make sim SEED=n repeats one of each'
	@echo 'make fuzz      fuzz each target for FUZZ_SECONDS=$(FUZZ_SECONDS)'
	@echo
	@echo 'make run takes CLIENTS=$(CLIENTS) and INTERNAL=$(INTERNAL)'

run:
	$(CARGO) build --release
	@echo
	@echo 'Clients connect to $(CLIENTS), senders to $(INTERNAL). When the node says that it is ready, look at'
	@echo '  http://$(INTERNAL)/                what it does'
	@echo '  http://$(INTERNAL)/demo?user=ada   a client in a page, to which this pushes:'
	@echo '  curl -d "hello" http://$(INTERNAL)/v1/users/ada/push'
	@echo 'Or in other terminals:'
	@echo '  curl -N -H "X-CUSTOMER_ID: ada" http://$(CLIENTS)/sse'
	@echo '  $(TARGET)/release/holdfast send --internal $(INTERNAL) ada "by way of the queue"'
	@echo '  curl http://$(INTERNAL)/v1/users/ada/devices'
	@echo '  curl http://$(INTERNAL)/metrics'
	@echo 'Ctrl-C drains the node and stops it; a second one stops it at once.'
	@echo
	@exec $(TARGET)/release/holdfast serve --clients $(CLIENTS) --internal $(INTERNAL)

# The tests of a fleet of two releases take the later one from here, and those of Kafka over TLS the one that can; both are one
# program, as each takes a minute. Built in the same folder, it has its dependencies from there.
test: $(VENV)/ready
	$(CARGO) build --features next-format,kafka-tls --bin holdfast
	cp '$(TARGET)/debug/holdfast' '$(TARGET)/holdfast-other'
	TEST_NEXT_FORMAT='$(abspath $(TARGET))/holdfast-other' TEST_KAFKA_TLS='$(abspath $(TARGET))/holdfast-other' \
		TEST_PYTHON='$(abspath $(VENV))/bin/python' TEST_NODE='$(abspath $(MODULES))' \
		$(CARGO) test --workspace --no-fail-fast
	scripts/autobahn quick '$(TARGET)/debug/holdfast' '$(TARGET)/autobahn'

# Needs CPython 2.7, and says so loudly where there is none.
autobahn:
	$(CARGO) build --release
	scripts/autobahn all '$(TARGET)/release/holdfast' '$(TARGET)/autobahn'

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps
	$(CARGO) test --test tidy
	python3 scripts/licences.py

bench:
	$(CARGO) bench

bench-cluster:
	$(CARGO) bench --bench cluster

bench-kafka:
	$(CARGO) bench --bench kafka

million:
	$(CARGO) build --release --bin holdfast
	scripts/million '$(TARGET)/release/holdfast' '$(CONNECTIONS)' '$(REPORTS)'

herd:
	$(CARGO) build --release --bin holdfast
	scripts/herd '$(TARGET)/release/holdfast' '$(REPORTS)'

# The tests of the same names, which `make test` runs for some seconds on a debug build, at length on a release build.
leak:
	LEAK_CONNECTIONS=$(LEAK_CONNECTIONS) $(CARGO) test --release --test e2e leak:: -- --nocapture

soak:
	SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --release --test e2e soak:: -- --nocapture

# One seed where SEED is given, else as many as SIM_RUNS from a fresh one on. Each prints its seed. A fleet is several nodes.
sim:
	SIM_STEPS=$(SIM_STEPS) FLEET_STEPS=$(FLEET_STEPS) $(if $(SEED),SIM_SEED=$(SEED),SIM_SEEDS=$(SIM_RUNS)) \
		$(CARGO) test --profile sim --lib -- --nocapture sim::tests::whatever_happens sim::fleet::tests::whatever_happens

# New inputs go to fuzz/found, so that the corpus stays what was chosen for it.
fuzz:
	@$(CARGO) fuzz --version >/dev/null 2>&1 || \
		{ echo 'cargo-fuzz is missing: cargo install cargo-fuzz --locked' >&2; exit 1; }
	@$(CARGO) +nightly --version >/dev/null 2>&1 || \
		{ echo 'a nightly toolchain is missing: rustup toolchain install nightly --profile minimal' >&2; exit 1; }
	@set -e; for target in $(FUZZ_TARGETS); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s; an input that fails lands in fuzz/artifacts/$$target/"; \
		mkdir -p fuzz/found/$$target; \
		$(CARGO) +nightly fuzz run $$target fuzz/found/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -print_final_stats=1; \
	done

# The clients by others that the end-to-end tests borrow, and what else they need.
$(VENV)/ready: $(CLIENT_PACKAGES) scripts/install-test-tools
	scripts/install-test-tools '$(VENV)' '$(MODULES)' tests/e2e
	touch '$@'
