#!/usr/bin/env bash
# Brings what some tests need beyond npm: swtpm from Debian (as root), model_signing, the Azure SDK for Python, and
# what models are loaded with from PyPI (into .tools/).
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

# What opened models are loaded with. Keras computes with JAX here: its numpy backend needs that too, and torch is 540 MB.
models=.tools/models/bin
if [ -x $models/pip ] || python3 -m venv .tools/models >/dev/null 2>&1; then
  for tool in 'safetensors numpy:safetensors==0.8.0 numpy==2.4.6' 'tensorboard:tensorboard==2.21.0' \
    'keras jax:keras==3.15.1 h5py==3.16.0 jax==0.10.2 scipy==1.17.1'; do
    names=${tool%%:*}
    if KERAS_BACKEND=jax $models/python -c "import ${names// /, }" >/dev/null 2>&1; then
      echo "$names: there"
    elif $models/pip install -q ${tool#*:} >/dev/null 2>&1; then
      echo "$names: installed in .tools/models"
    else
      echo "$names: could not be installed"
    fi
  done
else
  echo 'safetensors, tensorboard, keras: no Python to install them with'
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
