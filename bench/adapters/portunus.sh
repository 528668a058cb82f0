#!/bin/sh
# An edge with everything on: rules from a server over its control session, counters, timeouts, health.
[ -x "$PORTUNUS_BIN" ] || exit 77
exec "$PORTUNUS_BIN" edge --server "http://127.0.0.1:$CONTROL" --name edge-01 --state-dir "$BENCH_TMP/edge" \
  --log-level warn
