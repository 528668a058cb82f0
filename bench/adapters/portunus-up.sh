#!/bin/sh
# Server and edge in one process, from a folder of rules.
[ -x "$PORTUNUS_BIN" ] || exit 77
mkdir -p "$BENCH_TMP/rules"
"$(dirname "$0")/rule.sh" local >"$BENCH_TMP/rules/bench.toml"
exec "$PORTUNUS_BIN" up "$BENCH_TMP/rules" --state-dir "$BENCH_TMP/state" --log-level warn \
  --control-listen "127.0.0.1:$CONTROL" --operator-listen "127.0.0.1:$((CONTROL + 1))" \
  --metrics-listen "127.0.0.1:$((CONTROL + 2))"
