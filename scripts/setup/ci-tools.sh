#!/usr/bin/env bash
# Brings what some tests need beyond npm, where the system lets us. Without it those tests say that they were skipped.
set -uo pipefail

if command -v swtpm >/dev/null; then
  echo 'swtpm: there'
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends swtpm) >/dev/null 2>&1 \
    && echo 'swtpm: installed' || echo 'swtpm: could not be installed, its tests are skipped'
else
  echo 'swtpm: not there and not ours to install, its tests are skipped'
fi
