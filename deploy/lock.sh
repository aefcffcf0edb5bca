#!/usr/bin/env bash
# Regenerates the locked, hashed requirements from pyproject.toml. Run by `make lock`; no index address gets into a file.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
[ -x "$uv" ] || uv=.venv/Scripts/uv
unset PIP_FIND_LINKS UV_FIND_LINKS # a folder of wheels on this machine must not decide for all machines

compile() { # compile OUTPUT SOURCE [OPTION...]
  local output=$1
  shift
  # evdev is left out: it has no wheel and needs a C compiler, and pynput wants it only for a backend that is not used here.
  "$uv" pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --universal --python-version 3.11 \
    --no-emit-package evdev --custom-compile-command "make lock" ${UPGRADE:+--upgrade} --output-file "$output" "$@"
}

compile deploy/requirements-build.lock deploy/requirements-build.in
compile deploy/requirements.lock pyproject.toml --extra dev
compile deploy/requirements-server.lock pyproject.toml --extra redactor --extra lake
compile deploy/requirements-jvm.lock deploy/requirements-jvm.in
