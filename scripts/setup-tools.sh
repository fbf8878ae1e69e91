#!/usr/bin/env bash
# Brings what some tests need beyond npm: swtpm from Debian (as root), model_signing from PyPI (into .tools/).
# Where that is not possible the tests say that they were skipped, so nothing here fails.
set -uo pipefail
cd "$(dirname "$0")/.."

if command -v swtpm >/dev/null; then
  echo 'swtpm: there'
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq >/dev/null 2>&1 \
  && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends swtpm >/dev/null 2>&1; then
  echo 'swtpm: installed'
else
  echo 'swtpm: neither there nor ours to install'
fi

if [ -x .tools/venv/bin/model_signing ]; then
  echo 'model_signing: there'
elif python3 -m venv .tools/venv >/dev/null 2>&1 && .tools/venv/bin/pip install -q model-signing==1.1.1 pyopenssl >/dev/null 2>&1; then
  echo 'model_signing: installed in .tools/venv'
else
  rm -rf .tools/venv
  echo 'model_signing: could not be installed'
fi
