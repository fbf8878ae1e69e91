#!/usr/bin/env bash
# Brings what some tests need beyond npm: swtpm from Debian (as root), model_signing and the Azure SDK for Python from PyPI
# (into .tools/).
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

if .tools/venv/bin/python -c 'import azure.identity, azure.keyvault.keys, azure.storage.blob' >/dev/null 2>&1; then
  echo 'Azure SDK for Python: there'
elif [ -x .tools/venv/bin/pip ] && .tools/venv/bin/pip install -q azure-identity==1.27.0 azure-keyvault-keys==4.11.3 azure-storage-blob==12.31.1 >/dev/null 2>&1; then
  echo 'Azure SDK for Python: installed in .tools/venv'
else
  echo 'Azure SDK for Python: could not be installed'
fi

# A place of its own: what it brings along would not agree with the other's.
if [ -x .tools/checkov/bin/checkov ]; then
  echo 'checkov: there'
elif python3 -m venv .tools/checkov >/dev/null 2>&1 && .tools/checkov/bin/pip install -q checkov==3.3.30 >/dev/null 2>&1; then
  echo 'checkov: installed in .tools/checkov'
else
  rm -rf .tools/checkov
  echo 'checkov: could not be installed'
fi
