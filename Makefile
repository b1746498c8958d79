# The tasks of everyday work; make without a target lists them.
.DEFAULT_GOAL := help

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null)
GOLANGCI := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# What make generate writes.
GENERATED := docs/metrics.md docs/replies.md docs/settings.md docs/sql.md docs/webhooks.md web/api/openapi.json web/api/testdata/contract-v1.json

.PHONY: help build dev test race lint fmt generate check-generated bench-check compose-check end-to-end ci clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/klingwatch
	CGO_ENABLED=0 go build -trimpath -ldflags "-X main.release=$(VERSION)" -o bin/klingwatch ./cmd/klingwatch

dev: ## See it run: Postgres, a simulated relay, the service, sample tasks
	go run ./cmd/klingwatch dev

# deploy is a module of its own; -count=1, because it tests files outside itself,
# whose changes the go command does not see.
test: ## Run the tests
	go test ./...
	go -C deploy test -count=1 ./...

race: ## Run the tests as CI does: race detector, random order
	go test -race -shuffle=on ./...
	go -C deploy test -count=1 -race -shuffle=on ./...

lint: ## Run the linters of .golangci.yml
	$(GOLANGCI) run
	cd deploy && $(GOLANGCI) run

fmt: ## Format the Go files
	$(GOLANGCI) fmt

# The new page of settings replaces the old one only when all went well.
generate: ## Write the pages of docs that come from the code
	@set -e; page=$$(mktemp); trap 'rm -f "$$page"' EXIT; \
	go run ./cmd/klingwatch settings > "$$page"; \
	cat "$$page" > docs/settings.md
	@go test -count=1 ./metrics -run '^TestTheTableOfMetricsIsWhatIsServed$$' -update
	@go test -count=1 ./worker/poll -run '^TestTheTableOfRepliesIsWhatHappens$$' -update
	@go test -count=1 ./webhook -run '^TestTheTableOfFieldsIsTheSchema$$' -update
	@go test -count=1 ./web/api -run '^(TestTheSpecificationIsWhatIsServed|TestNothingThatWasPromisedIsTakenAway)$$' -update
	@go test -count=1 ./migrations -run '^TestTheSQLPageIsWhatTheCommentsSay$$' -update

# Compared with the file as it was, so that it works before a commit as well.
check-generated: ## Fail when a generated page differs from what make generate writes
	@set -e; before=$$(mktemp -d); trap 'rm -rf "$$before"' EXIT; \
	cp $(GENERATED) "$$before"; \
	$(MAKE) --no-print-directory generate; \
	for page in $(GENERATED); do \
		if ! diff -u "$$before/$$(basename $$page)" $$page; then \
			echo "$$page was out of date: commit what make generate wrote" >&2; exit 1; \
		fi; \
	done

bench-check: ## Fail when quick measurements are worse than stored ones by more than 15 %
	go run ./cmd/klingbench check

compose-check: ## Check docker-compose.yml, Dockerfile and .env.example without Docker
	go -C deploy test -count=1 -run 'TestCompose|TestExampleEnv' .

end-to-end: ## Run the main job with psql, a relay and a receiver in Node
	.ci/end-to-end

ci: ## Run everything that CI runs
	.ci/run

clean: ## Remove what was built
	rm -rf bin dist .ci/standardwebhooks/node_modules
