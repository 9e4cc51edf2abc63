# Everything a developer or CI runs. `make test` and `make demo` find or fetch a PostgreSQL of their own.

VERSION ?= $(shell git describe --tags --match 'v*' 2>/dev/null)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)
# timetzdata, where there is no time-zone database, as in a container.
TAGS    ?=

# What is not known stays as the program has it.
LDFLAGS := -s -w $(if $(VERSION),-X main.version=$(VERSION)) $(if $(COMMIT),-X main.commit=$(COMMIT))

# Linters have a module of their own, so that their dependencies are none of the agent's.
TOOL := go tool -modfile=.ci/tools.mod
# So have those that the manifests are tested and releases made with.
DEPLOY_TOOL := go tool -modfile=.ci/deploy.mod

.PHONY: build demo test lint bench release clean

build:
	go build -trimpath -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o bin/teleport-jira-agent ./cmd/teleport-jira-agent

# The demo is run as itself and not by `go run`, which does not pass on every signal.
demo: build
	go build -trimpath -o bin/demo ./cmd/demo
	@bin/demo bin/teleport-jira-agent

# Most tests wait for somebody: more of them at once than there are cores. No cached results: go does not see that integration runs the binary.
# The tools come first: they take minutes to build, once, which tests that wait for somebody should not run beside.
test:
	@$(DEPLOY_TOOL) -n helm >/dev/null && $(DEPLOY_TOOL) -n kustomize >/dev/null
	go test -race -count=1 -parallel 8 -timeout 15m ./...

lint:
	@unformatted="$$($(TOOL) gofumpt -l .)" || exit 1; \
	if [ -n "$$unformatted" ]; then echo "not formatted by gofumpt:"; echo "$$unformatted"; exit 1; fi
	$(TOOL) golangci-lint run ./...

# About ten minutes. Write the figures to a file with BENCH='-json FILE', measure some with BENCH='-run REGEXP'.
bench:
	go run ./integration/bench $(BENCH)

# Archives, bills of materials and checksums in dist/, from a tagged commit.
release:
	@VERSION='$(VERSION)' COMMIT='$(COMMIT)' .ci/release

clean:
	rm -rf bin dist
	go clean -testcache
