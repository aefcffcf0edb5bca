#!/usr/bin/env bash
# Everything that the project needs on this machine: .venv from the locked requirements, a Java runtime, Kafka's jars, system tools.
#   deploy/setup.sh           all of it
#   deploy/setup.sh python    only .venv: enough for `make quick` and `make check`
#   deploy/setup.sh model     .venv, and what `make model` needs
# Quick and harmless to repeat; an interrupted run is repaired by the next one. Asks before it installs system packages, at a
# terminal only and for a minute at most: YES=1 answers yes, and where there is no terminal it installs and says so.
set -euo pipefail
cd "$(dirname "$0")/.."

part=${1:-all}
cache=${BYLEAVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/byleave}
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' deploy/kafka/pom.xml)
kafka=$cache/kafka-$version
stamp=.venv/byleave-setup
bin=.venv/bin
case $(uname -s) in MINGW* | MSYS* | CYGWIN*) bin=.venv/Scripts ;; esac
python=$bin/python

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

works() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() { # a shim may be on PATH and still start nothing: each candidate is tried
  local name
  for name in python3.13 python3.12 python3.11 python3 python; do
    if command -v "$name" >/dev/null && works "$name"; then
      printf '%s' "$name"
      return
    fi
  done
}

agreed() { # agreed WHAT: yes at once with YES=1 or without a terminal, else what the person says
  if [ "${YES:-0}" = 1 ] || [ ! -t 0 ]; then return 0; fi
  local answer=n
  printf 'setup: install %s with apt-get? [y/N] ' "$1"
  read -r -t 60 answer || printf '\n'
  case $answer in [yY]*) return 0 ;; *) return 1 ;; esac
}

install_packages() { # install_packages PACKAGE...: false, with the command to run, where that is not possible or not wanted
  local sudo=
  [ "$(id -u)" = 0 ] || sudo='sudo '
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && agreed "$*"; then
    say "installing $* with apt-get"
    if apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null 2>&1; then return 0; fi
    apt-get update -qq </dev/null >/dev/null 2>&1 || true
    if DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null 2>&1; then
      return 0
    fi
  fi
  say "missing: $*; install with: ${sudo}apt-get install $*"
  return 1
}

fingerprint() { # changes with whatever decides what is installed
  cat deploy/requirements.lock deploy/requirements-build.lock pyproject.toml deploy/setup.sh | cksum
}

set_up_python() {
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] && [ -x "$python" ]; then return; fi
  if ! "$python" -c 'import pip' >/dev/null 2>&1; then
    local found
    found=$(find_python)
    if [ -z "$found" ] && install_packages python3 python3-venv; then found=$(find_python); fi
    [ -n "$found" ] || fail "no Python >= 3.11 with venv was found; install one, then run this again"
    say "making .venv with $("$found" --version)"
    "$found" -m venv --clear .venv
  fi
  say "installing the locked requirements"
  local pip=("$python" -m pip --disable-pip-version-check install --quiet --no-input --no-deps)
  "${pip[@]}" --require-hashes -r deploy/requirements-build.lock
  "${pip[@]}" --require-hashes --no-build-isolation -r deploy/requirements.lock
  "${pip[@]}" --no-build-isolation --editable .
  fingerprint >"$stamp"
}

set_up_java() {
  if ! java=$("$python" -m byleave.deploy.jvm java 2>/dev/null); then
    say "no Java >= 17 was found; installing one into .venv"
    "$python" -m pip --disable-pip-version-check install --quiet --no-input --no-deps --require-hashes \
      -r deploy/requirements-jvm.lock
    java=$("$python" -m byleave.deploy.jvm java)
  fi
}

set_up_kafka() {
  [ -f "$kafka/libs/kafka_2.13-$version.jar" ] && return
  command -v mvn >/dev/null || install_packages maven || fail "Maven is needed once, to fetch Kafka"
  say "fetching Kafka $version into $kafka"
  mkdir -p "$cache"
  local fetched
  fetched=$(mktemp -d "$cache/.fetch.XXXXXX")
  # shellcheck disable=SC2064 # the folder's name as it is now
  trap "rm -rf '$fetched'" EXIT
  if ! JAVA_HOME=${JAVA_HOME:-$(dirname "$(dirname "$java")")} mvn -B --strict-checksums -f deploy/kafka/pom.xml \
    dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$fetched/libs" >"$fetched/log" 2>&1 </dev/null; then
    grep -a ERROR "$fetched/log" | head -n 5 >&2
    fail "Maven could not fetch Kafka; see above, then run this again"
  fi
  rm "$fetched/log"
  BYLEAVE_CACHE=$cache "$python" -m byleave.deploy.jvm keep "$fetched" deploy/kafka/jars.sha256
}

set_up_screen_tools() { # for the tests and the demo, which capture from an X server of their own
  [ "$(uname -s)" = Linux ] || return 0
  local missing=()
  command -v Xvfb >/dev/null || missing+=(xvfb)
  command -v xterm >/dev/null || missing+=(xterm)
  command -v xdotool >/dev/null || missing+=(xdotool)
  command -v xauth >/dev/null || missing+=(xauth)
  command -v xkbcomp >/dev/null || missing+=(x11-xkb-utils)
  command -v chromium >/dev/null || missing+=(chromium) # for the person's page, and for the extension
  command -v dbus-daemon >/dev/null || missing+=(dbus-daemon)
  [ -x /usr/libexec/at-spi-bus-launcher ] || missing+=(at-spi2-core) # what was clicked
  [ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import gi; gi.require_version("Gtk", "3.0")' 2>/dev/null \
    || missing+=(python3-gi gir1.2-gtk-3.0) # a real window to click in
  [ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}" || true
}

set_up_model_checker() { # Spin writes a C program for each model
  local missing=()
  command -v spin >/dev/null || missing+=(spin)
  command -v cc >/dev/null || missing+=(gcc libc6-dev)
  [ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}"
}

set_up_python
if [ "$part" = model ]; then
  set_up_model_checker || fail "the model needs Spin and a C compiler"
  exit 0
fi
[ "$part" = python ] && exit 0
set_up_java
set_up_kafka
set_up_screen_tools
set_up_model_checker || true
