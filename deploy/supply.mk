# What the Makefile includes: what we build on, and what is read from outside.
TARGET ?= part10
SECONDS ?= 3600
.PHONY: sbom advisories fuzz

sbom: .venv/dev.stamp ## write what the server is made of to dist/ (CycloneDX)
	mkdir -p dist && $(BIN)/python deploy/sbom.py > dist/fileroom.cdx.json
advisories: .venv/dev.stamp ## ask whether what we build on has known weaknesses
	$(BIN)/python deploy/advisories.py
fuzz: .venv/fuzz.stamp ## give a parser made-up bytes (TARGET=part10 SECONDS=3600)
	mkdir -p .fuzz && cd .fuzz && ../$(BIN)/python -m tests.fuzz $(TARGET) corpus/$(TARGET) \
		-max_len=4096 -timeout=20 -rss_limit_mb=1500 -max_total_time=$(SECONDS)

.venv/fuzz.stamp: .venv/dev.stamp requirements/fuzz.txt
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --require-hashes -r requirements/fuzz.txt
	touch $@
