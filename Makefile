# The commands that people type.  CMake builds (CMakePresets.json); this file only calls it.
#
#   make run PROMPT="..."       builds, and generates text with the model in models/, or with MODEL=FILE or DIR;
#                               ARGS="..." is passed on; a tree without models/ shows the operators at work on a text
#   make test                   builds, and runs every test; TIER=quick for those of a minute
#                               PRESET=asan or tsan: the same with sanitizers (CONTRIBUTING.md)
#   make check-rules            layers, symbols, headers, style, documentation
#   make needle                 builds, and looks for hidden values in texts of up to 32768 tokens, with a small hybrid
#                               and with its sibling of full attention alone; ARGS="..." is passed on
#   make bench                  times the operators; ARGS="..." is passed on
#   make install PREFIX=DIR     DESTDIR=DIR for packagers
#   make build | clean
#
# run, needle, test, bench and install first install missing Debian packages (tools/packages.txt).
PRESET ?= release
PREFIX ?= /usr/local
TIER ?=
BUILD := build/$(PRESET)
JOBS := $(shell nproc 2>/dev/null || echo 1)
# As typed: a dollar sign in a prompt is one.
override PROMPT := $(value PROMPT)
override MODEL := $(value MODEL)
export PROMPT MODEL

.DEFAULT_GOAL := help
# Two goals of one command line would configure and build in the same folder at once.
.NOTPARALLEL:
.PHONY: help run needle test bench build build-tests check-rules install clean packages packages-test

help:
	@sed -n 's/^#   //p' Makefile

packages:
	@tools/bootstrap.sh run
packages-test:
	@tools/bootstrap.sh test

# Without a warning about tests: a machine that only runs the program needs no cmocka.
build: packages
	@[ -f $(BUILD)/build.ninja ] || cmake --preset $(PRESET) -DBUILD_TESTING=OFF
	@cmake --build --preset $(PRESET)
build-tests: packages-test
	@cmake --preset $(PRESET) -DBUILD_TESTING=ON
	@cmake --build --preset $(PRESET)

ifneq ($(MODEL)$(wildcard models/*.gguf models/*/config.json),)
run: build
	@$(BUILD)/klinear run $(if $(MODEL),-m "$$MODEL") --echo --prompt "$${PROMPT:-Once upon a time}" $(ARGS)
else
run: build
	@$(BUILD)/klinear demo $(if $(PROMPT),--prompt "$$PROMPT") $(ARGS)
endif

needle: build
	@$(BUILD)/klinear needle experiments/needle/hybrid-bf16.gguf experiments/needle/mla-bf16.gguf $(ARGS)

bench: build
	@$(BUILD)/klinear bench ops $(ARGS)

test: build-tests
	@rm -f $(BUILD)/tests.xml # an older run is not counted in place of one that did not come to its end
	@ctest --preset $(PRESET) -j $(JOBS) $(if $(TIER),-L '^$(TIER)$$') \
	    --output-junit "$(CURDIR)/$(BUILD)/tests.xml" --test-output-size-passed 1000000; \
	    python3 tools/count_tests.py $(BUILD)/tests.xml

check-rules: build-tests
	@status=0; tools/check_layers.py || status=1; tools/check_symbols.sh $(BUILD) || status=1; \
	    tools/check_headers.sh || status=1; tools/check_style.sh || status=1; tools/check_docs.py || status=1; exit $$status

install: build
	@cmake --install $(BUILD) --prefix "$(PREFIX)"

clean:
	rm -rf build
