# One command per purpose; `make` alone lists them.
SWIFT    ?= swift
SOURCES   = Package.swift Sources Tests Benchmarks Fuzz/Package.swift Fuzz/Sources
PRODUCTS  = .build/release
# Tests run optimised, in a build folder of their own: -enable-testing would replace the product's objects.
TESTBUILD = --scratch-path .build-test -c release -Xswiftc -enable-testing
# Optimised, with assertions: unoptimised and sanitized the tests would take hours. Leaks are looked for in the engine's tests of
# damage and errors alone: tests that crash logs and servers drop them without closing them.
SANITIZED = -c release -Xswiftc -enable-testing -Xswiftc -assert-config -Xswiftc Debug
LEAKS     = ASAN_OPTIONS=detect_leaks=1 LSAN_OPTIONS=suppressions=$(CURDIR)/.ci/lsan-suppressions
LEAKFREE  = (Embedding|Corruption|ErrorInjection|Scrub|VerifiedRead|Folio|Shrink)Tests
TSAN      = TSAN_OPTIONS=suppressions=$(CURDIR)/.ci/tsan-suppressions
# The others have one thread; some of them would take an hour.
THREADED  = (ServerTests|ClientTests|RPCTests|WALTests|SnapshotTests|MVCCTests)\.|ReclaimTests|ScrubTests|CursorTests|ReadAheadTests
SOAK_CYCLES ?= 200
# Python with the packages of Tests/EndToEnd/requirements.txt; without it the tests that need them say so and skip.
PEERS     = $(shell test -x .venv-test/bin/python && echo .venv-test/bin/python || echo python3)
FUZZ_SECONDS ?= 60
SOAK_IMAGES ?= 100000
SOAK_TALLY ?=
MUTANTS  ?=
DATA     ?= ./default.needletail
SERVE    ?=

.PHONY: help deps deps-test build serve test test-unit test-end-to-end bench lint descriptors sanitize soak mutants fuzz

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Install what a build of the server needs (Debian packages, only those missing)
	@bash .ci/dependencies build

deps-test: deps ## Install what tests and benchmarks need besides (peers are never started or enabled)
	@bash .ci/dependencies test
	@bash .ci/test-venv

build: deps ## Build the server and the command line client, optimised
	$(SWIFT) build -c release --product needletail
	$(SWIFT) build -c release --product needletailctl

serve: deps ## Build and run the server on ./default.needletail (DATA=dir, SERVE="more flags")
	$(SWIFT) build -c release --product needletail
	$(PRODUCTS)/needletail --data-dir $(DATA) $(SERVE)

test: test-unit test-end-to-end ## Everything a change must pass: unit tests, then the real programs end to end

test-unit: deps-test ## The Swift tests alone
	$(SWIFT) build $(TESTBUILD) --build-tests
	bash .ci/unit-tests $(SWIFT) test $(TESTBUILD) --skip-build --no-parallel

test-end-to-end: deps-test build .build-test/release/needletail-bench .build-test/release/needletail-sim ## The real programs alone: Debian's package index, SIGKILL under load, linearizability, bad input, snapshots, flags, the JSON gateway, beside etcd and with its clients
	python3 Tests/EndToEnd/bench.py --programs $(PRODUCTS) --bench .build-test/release/needletail-bench
	python3 Tests/EndToEnd/debian.py --programs $(PRODUCTS)
	python3 Tests/EndToEnd/kill.py --programs $(PRODUCTS) --cycles 5
	python3 Tests/EndToEnd/linear.py --programs $(PRODUCTS) --sim .build-test/release/needletail-sim --seconds 8
	python3 Tests/EndToEnd/badinput.py --programs $(PRODUCTS)
	python3 Tests/EndToEnd/fulldisk.py --programs $(PRODUCTS)
	python3 Tests/EndToEnd/snapshot.py --programs $(PRODUCTS)
	python3 Tests/EndToEnd/start.py --programs $(PRODUCTS)
	python3 Tests/EndToEnd/gateway.py --programs $(PRODUCTS)
	$(PEERS) Tests/EndToEnd/differential.py --server $(PRODUCTS)/needletail --per-round 2000 --seconds 15
	$(PEERS) Tests/EndToEnd/differential.py --server $(PRODUCTS)/needletail --per-round 2000 --seconds 15 --peer pip
	$(PEERS) Tests/EndToEnd/etcdctl.py --server $(PRODUCTS)/needletail
	$(PEERS) Tests/EndToEnd/clients.py --server $(PRODUCTS)/needletail
	$(PEERS) Tests/EndToEnd/reflection.py --server $(PRODUCTS)/needletail
	$(PEERS) Tests/EndToEnd/kubernetes.py --server $(PRODUCTS)/needletail
	$(PEERS) Tests/EndToEnd/abuse.py --server $(PRODUCTS)/needletail --seconds 1

.build-test/release/needletail-%:
	$(SWIFT) build $(TESTBUILD) --product needletail-$*

bench: deps-test build ## Engine and server benchmarks beside their peers, small; results in perf/results
	$(SWIFT) build -c release --product needletail-bench
	perf/bench

lint: ## Check the style of every Swift file
	$(SWIFT) format lint -s -r $(SOURCES)

descriptors: deps-test ## Write again what gRPC's reflection service tells, after a change in proto/
	.ci/descriptors

sanitize: deps-test ## The Swift tests under the address sanitizer, those with threads under the thread sanitizer, and readers beside a writer for a minute
	$(SWIFT) build --sanitize=address --scratch-path .build-asan $(SANITIZED) --build-tests
	ASAN_OPTIONS=detect_leaks=0 bash .ci/unit-tests $(SWIFT) test --sanitize=address --scratch-path .build-asan $(SANITIZED) --skip-build --no-parallel
	$(LEAKS) bash .ci/unit-tests $(SWIFT) test --sanitize=address --scratch-path .build-asan $(SANITIZED) --skip-build --no-parallel \
	  --filter 'BackendTests\.$(LEAKFREE)'
	$(SWIFT) build --sanitize=thread --scratch-path .build-tsan $(SANITIZED) --build-tests
	$(TSAN) bash .ci/unit-tests $(SWIFT) test --sanitize=thread --scratch-path .build-tsan $(SANITIZED) --skip-build \
	  --no-parallel --filter '$(THREADED)'
	NEEDLETAIL_SECONDS=60 $(TSAN) bash .ci/unit-tests $(SWIFT) test --sanitize=thread --scratch-path .build-tsan $(SANITIZED) \
	  --skip-build --no-parallel --filter 'readersBesideAWriter|besideAWriter'

# More seeds and operations for the tests that take them, then the real programs; a failing line names the seed to repeat.
soak: deps-test build .build-test/release/needletail-sim ## Long runs: many seeds, SOAK_IMAGES crash images, SOAK_CYCLES kills under load (counted in the file SOAK_TALLY), random corruption
	$(SWIFT) build $(TESTBUILD) --build-tests
	NEEDLETAIL_SEEDS=200 NEEDLETAIL_OPS=200000 NEEDLETAIL_WAL_SOAK=50 NEEDLETAIL_SECONDS=60 NEEDLETAIL_RAFT_SEEDS=20000 \
	  $(SWIFT) test $(TESTBUILD) --skip-build --no-parallel
	NEEDLETAIL_OPS=2000000 $(SWIFT) test $(TESTBUILD) --skip-build --no-parallel --filter MVCCTests.ModelTests
	NEEDLETAIL_IMAGES=$(SOAK_IMAGES) $(SWIFT) test $(TESTBUILD) --skip-build --no-parallel --filter CrashTests/soak
	python3 Tests/EndToEnd/kill.py --programs $(PRODUCTS) --cycles 20
	python3 Tests/EndToEnd/kill.py --programs $(PRODUCTS) --cycles $(SOAK_CYCLES) --alarms 20 --records 2000 --seconds 0.25 \
	  --quiet $(if $(SOAK_TALLY),--tally $(SOAK_TALLY))
	.build-test/release/needletail-sim run --seeds 3000
	.build-test/release/needletail-sim run --seeds 300 --from 1000000 --seconds 10
	$(MAKE) fuzz FUZZ_SECONDS=300
	for clients in 4 8 16; do python3 Tests/EndToEnd/linear.py --programs $(PRODUCTS) \
	  --sim .build-test/release/needletail-sim --seconds 100 --life 12 --clients $$clients || exit 1; done
	for round in 1 2 3 4 5; do python3 Tests/EndToEnd/badinput.py --programs $(PRODUCTS) || exit 1; done
	$(PEERS) Tests/EndToEnd/differential.py --server $(PRODUCTS)/needletail --requests 1000000
	$(PEERS) Tests/EndToEnd/differential.py --server $(PRODUCTS)/needletail --requests 300000 --peer pip
	$(PEERS) Tests/EndToEnd/kubernetes.py --server $(PRODUCTS)/needletail --objects 100000 --operations 20000 --disk
	$(PEERS) Tests/EndToEnd/abuse.py --server $(PRODUCTS)/needletail --seconds 10

# --build-tests makes the programs, too; a build of one product besides would compile every module a second time.
mutants: deps ## Tests and simulations against each seeded bug (MUTANTS="names": those alone), in a build of their own; prints what caught it
	$(SWIFT) build --build-tests --traits Mutants --scratch-path .build-mutants -c release -Xswiftc -enable-testing
	.ci/mutants .build-mutants $(MUTANTS)

# A package of its own (Fuzz/Package.swift says why), with the address sanitizer. What is found lands in .build-fuzz.
fuzz: deps ## libFuzzer on Raft's step, the log's reader and gRPC sessions, FUZZ_SECONDS each
	FUZZER_RUNTIME=$$(find $$(dirname $$(dirname $$(readlink -f $$(command -v $(SWIFT))))) -name \
	  'libclang_rt.fuzzer_no_main-*.a' | head -1) \
	  $(SWIFT) build --package-path Fuzz --scratch-path .build-fuzz -c release --sanitize=address
	for target in fuzz-step fuzz-grpc fuzz-log; do mkdir -p .build-fuzz/corpus-$$target; \
	  ASAN_OPTIONS=detect_leaks=0 .build-fuzz/release/$$target -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 \
	    -timeout=10 -max_len=4096 -print_final_stats=1 -artifact_prefix=.build-fuzz/ .build-fuzz/corpus-$$target \
	    || exit 1; done
