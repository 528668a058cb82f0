#!/bin/sh
# The server that `portunus.sh` keeps a session with; it runs beside what is measured.
[ -x "$PORTUNUS_BIN" ] || exit 77
mkdir -p "$BENCH_TMP/rules"
"$(dirname "$0")/rule.sh" edge-01 >"$BENCH_TMP/rules/bench.toml"
[ "$MODE" = list ] && "$(dirname "$0")/networks.sh" >"$BENCH_TMP/rules/networks.txt"
# Builds before the guards of uncommitted trees have no such flag and follow any tree.
dirty=
"$PORTUNUS_BIN" serve --help | grep -q -e --allow-dirty && dirty=--allow-dirty
# shellcheck disable=SC2086 # nothing, or one word
exec "$PORTUNUS_BIN" serve $dirty --rules "$BENCH_TMP/rules" --state-dir "$BENCH_TMP/server" --log-level warn \
  --control-listen "127.0.0.1:$CONTROL" --operator-listen "127.0.0.1:$((CONTROL + 1))" \
  --metrics-listen "127.0.0.1:$((CONTROL + 2))"
