# make test   everything, from a clean clone; installs what is missing on Debian
# make help   the other targets

GO      ?= go
FUZZ    ?= 10000000x
ROUNDS  ?= 50
STATICCHECK = $(GO) tool -modfile=tools/go.mod staticcheck

.PHONY: test help setup format vet lint race alloc bench-build bench fuzz chaos edge-caddy edge-traefik build clean

test: setup format vet lint race alloc bench-build ## format, vet, staticcheck, tests under the race detector, allocation tests without it, benchmarks compiled

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what the tests need (Debian)
	@scripts/setup

format: ## fail if gofmt would change a file
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet ./...
	cd bench && $(GO) vet ./...

lint: ## staticcheck
	$(STATICCHECK) ./...

# A program built with -race sleeps for a second at its end unless told otherwise.
race: ## all tests, fuzz seeds and examples under the race detector
	GORACE=atexit_sleep_ms=100 $(GO) test -race -timeout 12m ./...

alloc: ## what allocates, how much memory a million entries take, and ten thousand sessions at once: not to be told, or too slow, under the race detector
	$(GO) test -run 'Alloc|Million' ./compat/itsdangerous ./csrf ./keyring ./nearcache/... ./server/edge/... ./upstream
	$(GO) test -run 'TestConformance/^(Revoke|Changed)$$/^(Many|DefaultPage)$$' ./store/mysql ./store/postgres ./store/redis ./store/sqlite

bench-build: ## compile the benchmarks without running them
	cd bench && $(GO) test -run '^$$' ./...

bench: ## run the benchmarks against the peers and print the table of docs/performance.md
	cd bench && ./run

fuzz: ## each fuzz target for FUZZ executions
	scripts/fuzz $(FUZZ)

chaos: ## the long runs: kill -9 under load, fleets under faults whose histories must be explained, ROUNDS rounds, and the stores' suite at full size
	LATCHKEY_CHAOS_ROUNDS=$(ROUNDS) $(GO) test -race -count=1 -timeout 60m -run 'Chaos|KillNine|TestFleet|TestConformance' ./...

# Proxies that Debian lacks, or has of years ago. Versions: scripts/proxy.
edge-caddy: ## build a current Caddy and run the proxies' tests over it
	bin=$$(scripts/proxy caddy) && LATCHKEY_TEST_CADDY=$$bin $(GO) test -count=1 -v -run '^TestCaddyCurrent' ./server/edge

edge-traefik: ## build the real Traefik and run the proxies' tests over it
	bin=$$(scripts/proxy traefik) && LATCHKEY_TEST_TRAEFIK=$$bin $(GO) test -count=1 -v -run '^TestTraefik' ./server/edge

valkey: ## what speaks to Redis, over the server that VALKEY=PATH names
	@test -x "$(VALKEY)" || { echo "make valkey VALKEY=/path/to/valkey-server" >&2; exit 2; }
	dir=$$(mktemp -d) && trap 'rm -r "$$dir"' EXIT && ln -s "$(VALKEY)" "$$dir/redis-server" && ln -s "$(VALKEY)" "$$dir/redis-sentinel" && \
	PATH="$$dir:$$PATH" $(GO) test -count=1 ./store/redis ./lock ./upstream ./compat/apicrud/sessionmanager

build: ## the binary, in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/latchkey ./cmd/latchkey

clean:
	rm -rf bin bench/out
